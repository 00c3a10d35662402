/** Runs inputs through readers, and stops at the first that a reader does not survive. */
import { inputOf } from "./mutate.ts";
import { BrokenPromiseError, type FuzzedReader } from "./reader.ts";

/**
 * Milliseconds of processor time that one input may take; a reader that takes longer can be kept busy. Not of the clock:
 * on a busy machine that says nothing about the reader. One that waits for ever is the watching thread's find.
 */
export const INPUT_LIMIT_MS = 2000;

/** An input that a reader did not survive. */
export interface Find {
  readonly reader: string;
  readonly seed: number;
  /** The input's number, which with the seed makes it again. */
  readonly number: number;
  readonly input: Uint8Array;
  /** What went wrong: an error that is none of the reader's own, a broken promise, or the time it took. */
  readonly what: string;
}

/** How many inputs one reader had. */
export interface ReaderCount {
  readonly reader: string;
  readonly inputs: number;
  /** Those that it refused with its own error. */
  readonly refused: number;
  /** Processor time. */
  readonly slowestMs: number;
}

/** Tries one input. @returns what went wrong; undefined where nothing did. */
export async function tryInput(
  reader: FuzzedReader,
  seed: number,
  number: number,
): Promise<{ readonly find: Find | undefined; readonly refused: boolean; readonly ms: number }> {
  const input = inputOf(reader, seed, number);
  const started = process.cpuUsage();
  let what: string | undefined;
  let refused = false;
  try {
    await reader.read(input);
  } catch (error) {
    refused = reader.refusals.some((type) => error instanceof type);
    if (error instanceof BrokenPromiseError) what = error.message;
    else if (!refused) what = error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
  const { user, system } = process.cpuUsage(started);
  const ms = (user + system) / 1000;
  if (ms > INPUT_LIMIT_MS)
    what ??= `it took ${Math.round(ms)} ms of processor time, at most ${INPUT_LIMIT_MS} are allowed`;
  const find = what === undefined ? undefined : { reader: reader.name, seed, number, input, what };
  return { find, refused, ms };
}

/** When to stop with one reader. */
export interface FuzzLimits {
  readonly inputs: number;
  readonly milliseconds: number;
}

/**
 * Runs one reader's inputs, from number 0 on.
 *
 * @param before called before each input, so that whoever watches knows which one does not end.
 */
export async function fuzzReader(
  reader: FuzzedReader,
  seed: number,
  limits: FuzzLimits,
  before: (number: number) => void = () => undefined,
): Promise<{ readonly count: ReaderCount; readonly find: Find | undefined }> {
  const end = performance.now() + limits.milliseconds;
  let refused = 0;
  let slowestMs = 0;
  let number = 0;
  let find: Find | undefined;
  // Each reader has its corpus at least, however little time there is.
  for (; number < limits.inputs && !find; number++) {
    if (number >= reader.corpus.length && performance.now() > end) break;
    before(number);
    const result = await tryInput(reader, seed, number);
    find = result.find;
    if (result.refused) refused++;
    slowestMs = Math.max(slowestMs, result.ms);
  }
  return { count: { reader: reader.name, inputs: number, refused, slowestMs }, find };
}
