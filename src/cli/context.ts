/** What a command needs of the process it runs in: output, talk, interruption. */

/** One command's surroundings. */
export interface Context {
  /** A result, on stdout. */
  readonly print: (text: string) => void;
  /** Talk, on stderr, one line. */
  readonly say: (line: string) => void;
  /** A line that takes the place of the one before; "" ends it. Only there where somebody sees it: on a terminal. */
  readonly progress?: ((line: string) => void) | undefined;
  /** Aborts on Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal;
}

/** Prints `value` as one JSON document. */
export function printJson(context: Context, value: unknown): void {
  context.print(`${JSON.stringify(value, null, 2)}\n`);
}

/** The reason with which {@link Context.signal} aborts. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
}
