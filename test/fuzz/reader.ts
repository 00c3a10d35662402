/** What the fuzzer knows of one reader of bytes that a guest, or its QEMU, may have forged. */

/** A class of errors. */
export type ErrorClass = abstract new (...args: never[]) => Error;

/** One reader. */
export interface FuzzedReader {
  /** What users of the fuzzer call it: lower case with dashes. */
  readonly name: string;
  /** Its part of a run's time, where others have 1: a reader of whole machines has few inputs in a second. Default 1. */
  readonly share?: number;
  /** Well-formed inputs. Each is tried as it is, and all others are made of them. */
  readonly corpus: readonly Uint8Array[];
  /** Pieces that this reader looks for, or stumbles over. */
  readonly dictionary: readonly Uint8Array[];
  /** The reader's own errors: to refuse an input with one of them is right, anything else is a find. */
  readonly refusals: readonly ErrorClass[];
  /**
   * Reads one input, and checks what comes out.
   *
   * @throws {BrokenPromiseError} where what was read breaks a promise.
   */
  readonly read: (input: Uint8Array) => unknown;
}

/** The reader took the input, and what it made of it breaks a promise. */
export class BrokenPromiseError extends Error {
  override readonly name = "BrokenPromiseError";
}

/** @throws {BrokenPromiseError} unless `held`. */
export function promise(held: boolean, what: string): asserts held {
  if (!held) throw new BrokenPromiseError(what);
}

/** Latin-1 text as bytes. */
export function bytesOf(text: string): Uint8Array {
  return Buffer.from(text, "latin1");
}
