/** Cuts a byte stream into lines of text. A push parser: bytes in, a line out when there is one. */

/** Longest line that is accepted, bytes. `info mtree -f` of the largest guests is far below 1 MiB. */
export const LINE_LIMIT: number = 16 * 1024 * 1024;

const NEWLINE = 0x0a;

/** A line that is too long or not UTF-8. */
export class LineError extends Error {
  override readonly name = "LineError";
}

/** Splits at `\n`; a `\r` before it is dropped. Bytes may arrive cut anywhere, inside a character too. */
export class LineParser {
  readonly #limit: number;
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });
  readonly #lines: Uint8Array[] = [];
  #open: Uint8Array[] = [];
  #openLength = 0;

  /** @param limit longest line, bytes without its line end. */
  constructor(limit: number = LINE_LIMIT) {
    this.#limit = limit;
  }

  /** Bytes of the line that has not ended yet. */
  get pendingBytes(): number {
    return this.#openLength;
  }

  /**
   * Takes more bytes; the parser keeps no reference to `bytes`' memory beyond the next `tryRead` of its lines.
   *
   * @throws {LineError} where a line grows beyond the limit.
   */
  append(bytes: Uint8Array): void {
    let from = 0;
    for (;;) {
      const at = bytes.indexOf(NEWLINE, from);
      const part = bytes.subarray(from, at === -1 ? bytes.length : at);
      this.#openLength += part.length;
      if (this.#openLength > this.#limit) {
        throw new LineError(`Line is longer than ${this.#limit} bytes`);
      }
      if (part.length > 0) this.#open.push(part);
      if (at === -1) return;
      const [only] = this.#open;
      this.#lines.push(this.#open.length === 1 && only !== undefined ? only : Buffer.concat(this.#open));
      this.#open = [];
      this.#openLength = 0;
      from = at + 1;
    }
  }

  /**
   * The next whole line, or `undefined` until there is one.
   *
   * @throws {LineError} where it is not UTF-8.
   */
  tryRead(): string | undefined {
    const line = this.#lines.shift();
    if (line === undefined) return undefined;
    let text: string;
    try {
      text = this.#decoder.decode(line);
    } catch (error) {
      throw new LineError(`Line of ${line.length} bytes is not UTF-8`, { cause: error });
    }
    return text.endsWith("\r") ? text.slice(0, -1) : text;
  }
}
