/** A client of QEMU's gdbstub: physical memory, nothing else. */
import { connect, type Socket } from "node:net";

import { encodePacket, GdbPacketParser, GdbProtocolError } from "./gdb-packet.ts";
import { withCallSite } from "./qmp-errors.ts";

/** Anything that goes wrong between us and a gdbstub. */
export class GdbError extends Error {
  override readonly name: string = "GdbError";
}
/** The stub answered with an error number (`E01`), or does not know the request. */
export class GdbReplyError extends GdbError {
  override readonly name: string = "GdbReplyError";
  readonly reply: string;

  constructor(request: string, reply: string) {
    super(
      reply === ""
        ? `gdbstub does not know "${request}": use QEMU 4.1 or newer`
        : `gdbstub answered "${reply.slice(0, 40)}" to "${request}"`,
    );
    this.reply = reply;
  }
}
/** The connection ended, or never began. */
export class GdbClosedError extends GdbError {
  override readonly name: string = "GdbClosedError";
}
/** No answer in time. The connection is given up: a late answer would be taken for the next one's. */
export class GdbTimeoutError extends GdbError {
  override readonly name: string = "GdbTimeoutError";
}

/** Where a gdbstub listens. */
export type GdbAddress = { readonly path: string } | { readonly host: string; readonly port: number };

export interface GdbConnectOptions {
  /** Limit for the connection and for each answer, milliseconds; 3000 unless told. */
  readonly timeoutMs?: number;
  /** Asks for physical addresses in the same breath. */
  readonly physical?: boolean;
}

const TIMEOUT_MS = 3000;
/** How often one packet is sent or asked for again. */
const RETRIES = 3;
/** QEMU refuses to read more in one request (MAX_PACKET_LENGTH / 2, gdbstub/internals.h). */
const MEMORY_LIMIT = 2048;
/** Room for `M`, an address, a length and the frame. */
const WRITE_OVERHEAD = 48;
const ACK = Uint8Array.of(0x2b);
const NAK = Uint8Array.of(0x2d);

/** A request whose answer has not come. */
interface Exchange {
  readonly frame: Uint8Array;
  resends: number;
  corrupt: number;
  readonly resolve: (reply: string) => void;
  readonly reject: (error: Error) => void;
}

/** One connection to a gdbstub. Connecting stops the guest: see gdb-memory.ts for how that is made up for. */
export class GdbRemote {
  readonly #socket: Socket;
  readonly #timeoutMs: number;
  readonly #parser: GdbPacketParser = new GdbPacketParser();
  /** Oldest first: answers come in the order of the requests. */
  readonly #exchanges: Exchange[] = [];
  #ended: GdbClosedError | undefined;
  #packetSize = 1024;
  /** What a new connection asks: its answers come before those of whatever was sent behind it. */
  #greeting: Promise<void> = Promise.resolve();
  #ackOwed = false;

  private constructor(socket: Socket, timeoutMs: number) {
    this.#socket = socket;
    this.#timeoutMs = timeoutMs;
    socket.on("data", (bytes: Uint8Array) => this.#receive(bytes));
    socket.on("error", (error) =>
      this.#end(new GdbClosedError(`gdbstub connection broke: ${error.message}`)),
    );
    socket.on("close", () => this.#end(new GdbClosedError("gdbstub closed the connection")));
  }

  /**
   * Connects and asks for the stub's packet size. The guest is stopped from here on.
   *
   * @throws {GdbClosedError} where nobody listens.
   * @throws {GdbTimeoutError} where nobody answers; what `setPhysicalMode` throws.
   */
  static async connect(address: GdbAddress, options: GdbConnectOptions = {}): Promise<GdbRemote> {
    const remote = await GdbRemote.call(address, options);
    try {
      await remote.greeted();
      return remote;
    } catch (error) {
      remote.close();
      throw error;
    }
  }

  /**
   * As `connect`, but what it asks is not waited for: reads can be sent in the same breath, and fail where the stub
   * does not serve.
   */
  static async call(address: GdbAddress, options: GdbConnectOptions = {}): Promise<GdbRemote> {
    const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
    const socket = connect("path" in address ? { path: address.path } : { ...address, noDelay: true });
    const name = "path" in address ? address.path : `${address.host}:${address.port}`;
    const remote = new GdbRemote(socket, timeoutMs);
    const at = new Error("call site");
    try {
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => {
          reject(
            withCallSite(
              new GdbTimeoutError(`gdbstub at "${name}" did not accept within ${timeoutMs} ms`),
              at,
            ),
          );
        }, timeoutMs);
        socket.once("connect", () => {
          clearTimeout(timer);
          resolve();
        });
        socket.once("error", (error) => {
          clearTimeout(timer);
          reject(
            withCallSite(
              new GdbClosedError(
                `Cannot connect to the gdbstub at "${name}" (${error.message}): run as root or as QEMU's user`,
              ),
              at,
            ),
          );
        });
      });
      remote.#greeting = remote.#greet(name, options.physical === true);
      // Whoever reads or writes is told of it.
      remote.#greeting.catch(() => undefined);
      return remote;
    } catch (error) {
      remote.close();
      throw error;
    }
  }

  async #greet(name: string, physical: boolean): Promise<void> {
    const [features] = await Promise.all([
      this.request("qSupported"),
      physical ? this.setPhysicalMode(true) : undefined,
    ]);
    const size = /(?:^|;)PacketSize=([0-9a-fA-F]{1,8})(?:;|$)/.exec(features)?.[1];
    if (size !== undefined) this.#packetSize = Number.parseInt(size, 16);
    if (this.#packetSize < 2 * WRITE_OVERHEAD) {
      throw new GdbError(
        `gdbstub at "${name}" offers packets of ${this.#packetSize} bytes: too small to use`,
      );
    }
  }

  /** Waits until the stub has answered what a new connection asks. @throws what `connect` throws. */
  async greeted(): Promise<void> {
    await this.#greeting;
  }

  /** Most bytes of memory that one request reads or writes. */
  get memoryPerRequest(): number {
    return Math.min(MEMORY_LIMIT, Math.floor((this.#packetSize - WRITE_OVERHEAD) / 2));
  }

  /**
   * Makes addresses physical (true) or those of the current CPU (false). QEMU keeps this across connections.
   *
   * @throws {GdbReplyError} where the stub is not QEMU's or older than 4.1.
   */
  async setPhysicalMode(on: boolean): Promise<void> {
    await this.#command(`Qqemu.PhyMemMode:${on ? 1 : 0}`);
  }

  /** Reads `length` bytes at `address`, in one round trip. @throws {GdbReplyError} where the stub refuses. */
  async readMemory(address: bigint, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    const readPart = async (at: number, count: number): Promise<void> => {
      const request = `m${(address + BigInt(at)).toString(16)},${count.toString(16)}`;
      const reply = await this.request(request);
      if (reply.length !== 2 * count || !/^[0-9a-fA-F]*$/.test(reply))
        throw new GdbReplyError(request, reply);
      bytes.set(Buffer.from(reply, "hex"), at);
    };
    const parts: Promise<void>[] = [];
    for (let at = 0; at < length; at += this.memoryPerRequest)
      parts.push(readPart(at, Math.min(this.memoryPerRequest, length - at)));
    await Promise.all([this.#greeting, ...parts]);
    return bytes;
  }

  /**
   * Writes all of `bytes` at `address`, in ascending order, in one round trip; where the stub refuses one part, those
   * behind it are written all the same.
   *
   * @throws {GdbReplyError} where the stub refuses; nothing was written where it refused what `connect` asks.
   */
  async writeMemory(address: bigint, bytes: Uint8Array): Promise<void> {
    await this.#greeting;
    const parts: Promise<void>[] = [];
    for (let at = 0; at < bytes.length; at += this.memoryPerRequest) {
      const part = bytes.subarray(at, at + this.memoryPerRequest);
      const where = `M${(address + BigInt(at)).toString(16)},${part.length.toString(16)}`;
      parts.push(this.#command(`${where}:${Buffer.from(part).toString("hex")}`, where));
    }
    await allOf(parts);
  }

  /** Detaches: QEMU starts the guest, *even one that was paused before*. The connection stays open. */
  async detach(): Promise<void> {
    await this.#command("D");
  }

  /**
   * Sends one request and returns its answer as text, one character per byte.
   *
   * Requests are sent at once, without waiting for the answers to earlier ones. QEMU takes the next request for
   * the acknowledgement of its last answer (gdb_read_byte, gdbstub/gdbstub.c).
   */
  request(payload: string): Promise<string> {
    const at = new Error("call site");
    return new Promise((resolve, reject) => {
      if (this.#ended !== undefined) {
        reject(withCallSite(new GdbClosedError(this.#ended.message), at));
        return;
      }
      const timer = setTimeout(() => {
        const error = new GdbTimeoutError(
          `gdbstub did not answer "${payload.slice(0, 24)}" within ${this.#timeoutMs} ms`,
        );
        reject(withCallSite(error, at));
        this.#end(new GdbClosedError("gdbstub connection was given up after a time-out"));
      }, this.#timeoutMs);
      const exchange: Exchange = {
        frame: encodePacket(payload),
        resends: 0,
        corrupt: 0,
        resolve: (reply) => {
          clearTimeout(timer);
          resolve(reply);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(withCallSite(error, at));
        },
      };
      this.#exchanges.push(exchange);
      this.#send(exchange.frame);
    });
  }

  /** Ends the connection without detaching: a stopped guest stays stopped. */
  close(): void {
    this.#end(new GdbClosedError("We closed the gdbstub connection"));
  }

  async #command(payload: string, name: string = payload): Promise<void> {
    const reply = await this.request(payload);
    if (reply !== "OK") throw new GdbReplyError(name, reply);
  }

  /** Sends a frame, with the acknowledgement that is owed before it: one write wakes QEMU once. */
  #send(frame: Uint8Array): void {
    this.#socket.write(this.#ackOwed ? Buffer.concat([ACK, frame]) : frame);
    this.#ackOwed = false;
  }

  #acknowledge(): void {
    this.#ackOwed = true;
    setImmediate(() => {
      if (this.#ackOwed && this.#ended === undefined) this.#socket.write(ACK);
      this.#ackOwed = false;
    });
  }

  #receive(bytes: Uint8Array): void {
    if (this.#ended !== undefined) return;
    try {
      this.#parser.append(bytes);
      for (let item = this.#parser.tryRead(); item !== undefined; item = this.#parser.tryRead()) {
        if (item.kind === "nak") this.#resend();
        else if (item.kind === "corrupt") this.#askAgain(item.reason);
        else if (item.kind === "packet") this.#packet(item.data);
      }
    } catch (error) {
      if (!(error instanceof GdbProtocolError)) throw error;
      this.#end(
        new GdbClosedError(`gdbstub broke the protocol (${error.message}); connection closed`, {
          cause: error,
        }),
      );
    }
  }

  #resend(): void {
    const exchange = this.#onlyExchange("a refusal");
    if (exchange === undefined) return;
    if (++exchange.resends > RETRIES)
      throw new GdbProtocolError(`refused one request ${exchange.resends} times`);
    this.#send(exchange.frame);
  }

  #askAgain(reason: string): void {
    const exchange = this.#onlyExchange("a corrupt answer");
    if (exchange !== undefined && ++exchange.corrupt > RETRIES) {
      throw new GdbProtocolError(
        `${exchange.corrupt} corrupt answers to one request, the last with ${reason}`,
      );
    }
    this.#socket.write(NAK);
  }

  /** What is repeated behind later requests would come out of order: then the connection is given up. */
  #onlyExchange(what: string): Exchange | undefined {
    if (this.#exchanges.length > 1)
      throw new GdbProtocolError(`${what} while ${this.#exchanges.length} requests were under way`);
    return this.#exchanges[0];
  }

  #packet(data: Uint8Array): void {
    this.#acknowledge();
    const text = Buffer.from(data).toString("latin1");
    // Stop replies come unasked when a guest stops; no answer to our requests begins like one.
    if (/^[TSWX][0-9a-fA-F]{2}/.test(text)) return;
    this.#exchanges.shift()?.resolve(text);
  }

  #end(reason: GdbClosedError): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    const cause = reason.cause === undefined ? {} : { cause: reason.cause };
    for (const exchange of this.#exchanges.splice(0))
      exchange.reject(new GdbClosedError(reason.message, cause));
    this.#socket.destroySoon();
  }
}

/** Waits for all, also where one fails: none of them is under way afterwards. @throws what the first one threw. */
async function allOf(parts: readonly Promise<unknown>[]): Promise<void> {
  const failed = (await Promise.allSettled(parts)).find(({ status }) => status === "rejected");
  if (failed?.status === "rejected") throw failed.reason;
}
