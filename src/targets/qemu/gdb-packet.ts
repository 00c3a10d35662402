/**
 * Packets of the GDB remote serial protocol (GDB manual, appendix E.1 "Overview").
 *
 * `$data#cs`: cs is the sum of the raw bytes modulo 256, two hex digits. `}` escapes the next byte (xor 0x20);
 * `c*n` repeats c another (n - 29) times. `+` and `-` acknowledge. `%data#cs` is a notification.
 */

/** The stub or the wire broke the protocol. */
export class GdbProtocolError extends Error {
  override readonly name = "GdbProtocolError";
}

/** What a stream of bytes turned out to be. `corrupt` is a packet to be asked for again. */
export type GdbItem =
  | { readonly kind: "ack" }
  | { readonly kind: "nak" }
  | { readonly kind: "packet"; readonly data: Uint8Array }
  | { readonly kind: "notification"; readonly data: Uint8Array }
  | { readonly kind: "corrupt"; readonly reason: string };

/** Longest packet as sent, and as unfolded, bytes. QEMU's are at most 4096 long. */
const RAW_LIMIT = 128 * 1024;
const UNFOLDED_LIMIT = 1024 * 1024;
/** Bytes between packets that are forgiven over a connection's life. */
const JUNK_LIMIT = 1024;

const PLUS = 0x2b;
const MINUS = 0x2d;
const DOLLAR = 0x24;
const PERCENT = 0x25;
const HASH = 0x23;
const ESCAPE = 0x7d;
const STAR = 0x2a;

function sumOf(bytes: Uint8Array): number {
  return bytes.reduce((sum, byte) => (sum + byte) & 0xff, 0);
}

/** Frames `data` for sending, with escapes. */
export function encodePacket(data: string | Uint8Array): Uint8Array {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  const body: number[] = [];
  for (const byte of bytes) {
    if (byte === ESCAPE || byte === DOLLAR || byte === HASH || byte === STAR) body.push(ESCAPE, byte ^ 0x20);
    else body.push(byte);
  }
  const sum = sumOf(Uint8Array.from(body)).toString(16).padStart(2, "0");
  return Uint8Array.from([DOLLAR, ...body, HASH, sum.charCodeAt(0), sum.charCodeAt(1)]);
}

/** Resolves escapes and run-lengths. @throws {GdbProtocolError} where they make no sense. */
function unfold(raw: readonly number[]): Uint8Array {
  const out: number[] = [];
  for (let at = 0; at < raw.length; at++) {
    const byte = raw[at]!;
    if (byte === ESCAPE) {
      const next = raw[++at];
      if (next === undefined) throw new GdbProtocolError("Packet ends inside an escape");
      out.push(next ^ 0x20);
    } else if (byte === STAR) {
      const last = out.at(-1);
      const code = raw[++at];
      if (last === undefined) throw new GdbProtocolError("Packet begins with a run-length");
      if (code === undefined) throw new GdbProtocolError("Packet ends inside a run-length");
      if (code < 32 || code > 126)
        throw new GdbProtocolError(`Run-length byte 0x${code.toString(16)} is not printable`);
      for (let times = code - 29; times > 0; times--) out.push(last);
    } else {
      out.push(byte);
    }
    if (out.length > UNFOLDED_LIMIT)
      throw new GdbProtocolError(`Packet unfolds to more than ${UNFOLDED_LIMIT} bytes`);
  }
  return Uint8Array.from(out);
}

/** A push parser: bytes in, an item out when there is one. Bytes may arrive cut anywhere. */
export class GdbPacketParser {
  readonly #items: GdbItem[] = [];
  #raw: number[] = [];
  #sum: number[] = [];
  #state: "between" | "body" | "sum" = "between";
  #notification = false;
  #junk = 0;

  /** @throws {GdbProtocolError} where the peer is no gdbstub or a packet has no end. */
  append(bytes: Uint8Array): void {
    for (const byte of bytes) this.#take(byte);
  }

  /** The next item, or `undefined` until there is one. */
  tryRead(): GdbItem | undefined {
    return this.#items.shift();
  }

  #take(byte: number): void {
    if (this.#state === "between") {
      this.#between(byte);
    } else if (this.#state === "sum") {
      this.#sum.push(byte);
      if (this.#sum.length === 2) this.#finish();
    } else if (byte === DOLLAR) {
      // A packet begins inside another: the first one's end was lost.
      this.#items.push({ kind: "corrupt", reason: "a packet without an end" });
      this.#begin(false);
    } else if (byte === HASH) {
      this.#state = "sum";
    } else {
      this.#raw.push(byte);
      if (this.#raw.length > RAW_LIMIT)
        throw new GdbProtocolError(`Packet is longer than ${RAW_LIMIT} bytes`);
    }
  }

  #between(byte: number): void {
    if (byte === PLUS) this.#items.push({ kind: "ack" });
    else if (byte === MINUS) this.#items.push({ kind: "nak" });
    else if (byte === DOLLAR || byte === PERCENT) this.#begin(byte === PERCENT);
    else if (++this.#junk > JUNK_LIMIT)
      throw new GdbProtocolError("Peer sends bytes that are no packets: it is no gdbstub");
  }

  #begin(notification: boolean): void {
    this.#raw = [];
    this.#sum = [];
    this.#notification = notification;
    this.#state = "body";
  }

  #finish(): void {
    this.#state = "between";
    const text = String.fromCharCode(...this.#sum);
    const said = /^[0-9a-fA-F]{2}$/.test(text) ? Number.parseInt(text, 16) : -1;
    const counted = sumOf(Uint8Array.from(this.#raw));
    if (said !== counted) {
      const reason = `checksum "${text}", counted ${counted.toString(16).padStart(2, "0")}`;
      this.#items.push({ kind: "corrupt", reason });
      return;
    }
    this.#items.push({ kind: this.#notification ? "notification" : "packet", data: unfold(this.#raw) });
  }
}
