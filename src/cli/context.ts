/** What a command needs of the process it runs in: output, talk, interruption. */
import type { Journal } from "../keeper/journal/journal.ts";
import type { ServedMachine } from "../keeper/service/kept.ts";

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
  /** Calls `again` on SIGHUP, which ends a command otherwise. @returns ends that. */
  readonly onHangup?: ((again: () => void) => Disposable) | undefined;
  /** The whole command line, for those who hand it on; set by `run`. */
  readonly args?: readonly string[] | undefined;
  /** Runs another command line with other surroundings, to its end; set by `run`. */
  readonly run?: ((args: readonly string[], context: Context) => Promise<number>) | undefined;
  /** Of the program; set by `run`. */
  readonly version?: string | undefined;
  /** The machine of a keeper that has it open, in place of one that would be opened: the command came from elsewhere. */
  readonly machine?: (() => Promise<ServedMachine>) | undefined;
  /** The journal of that keeper, where it has one. */
  readonly journal?: Journal | undefined;
}

/** Thrown to end a command that a keeper has carried out. */
export class CarriedOut extends Error {
  override readonly name = "CarriedOut";
  /** Its exit code. */
  readonly code: number;

  constructor(code: number) {
    super("A keeper carried the command out");
    this.code = code;
  }
}

/** Prints `value` as one JSON document. */
export function printJson(context: Context, value: unknown): void {
  context.print(`${JSON.stringify(value, null, 2)}\n`);
}

/** The reason with which {@link Context.signal} aborts. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
}
