/** The one error of this room: bytes that are no core header, or a value that fits into none. */

/** What a {@link CoreHeaderError} is about; its message is made from these. */
export interface CoreHeaderProblem {
  /** What was being done, as it follows "Cannot": `decode`, `encode`, `build`. */
  readonly action: "decode" | "encode" | "build";
  /** What was read or written, for example `e_type` or `program header 3: p_offset`. */
  readonly field: string;
  /** Byte offset of that field from the start of the core header. */
  readonly offset: number;
  /** What is there. */
  readonly found: string;
  /** What would have been right. */
  readonly expected: string;
}

/**
 * Thrown by every function in elfcore that refuses its input, and only this: nothing else leaves
 * {@link decodeCoreHeader} whatever bytes it is given.
 *
 * @example "Cannot decode the core header: e_type at offset 0x10 is 0x2, expected 0x4 (ET_CORE)"
 */
export class CoreHeaderError extends Error {
  override readonly name = "CoreHeaderError";
  readonly field: string;
  readonly offset: number;
  readonly found: string;
  readonly expected: string;

  constructor(problem: CoreHeaderProblem) {
    const where = `0x${problem.offset.toString(16)}`;
    super(
      `Cannot ${problem.action} the core header: ${problem.field} at offset ${where} is ${problem.found}, ` +
        `expected ${problem.expected}`,
    );
    this.field = problem.field;
    this.offset = problem.offset;
    this.found = problem.found;
    this.expected = problem.expected;
  }
}
