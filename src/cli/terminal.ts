/** Talk on a terminal, where one line may be written over again and again: what is said meanwhile stands above it. */

/** Where it is written, and how wide that is. */
export interface TerminalStream {
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

const CLEAR = "\r\x1b[K";

export class Terminal {
  readonly #stream: TerminalStream;
  #line = "";

  constructor(stream: TerminalStream) {
    this.#stream = stream;
  }

  /** Puts `line` in the place of the one before; "" takes it away. */
  readonly progress = (line: string): void => {
    // A line that is broken in two cannot be written over.
    // A terminal that does not know its width says 0 (script(1) without one).
    const columns = this.#stream.columns === 0 ? undefined : this.#stream.columns;
    this.#line = line.slice(0, Math.max(20, (columns ?? 80) - 1));
    this.#stream.write(`${CLEAR}${this.#line}`);
  };

  readonly say = (line: string): void => {
    this.#stream.write(`${this.#line === "" ? "" : CLEAR}${line}\n${this.#line}`);
  };

  /** Results go to another stream, which is the same terminal mostly. */
  readonly before = (): void => {
    if (this.#line !== "") this.#stream.write(CLEAR);
  };
}
