/** How long after a change of memory a header says so: two stories that are told in either order. */
import { RangeSet } from "../src/layout/range-set.ts";

/** What is changed at a time. */
export const DIMM: bigint = 128n << 20n;
/** A change that was answered before the word of it came: the word comes within this, ms. */
const WORD_LIMIT_MS = 10_000;

/** The clock of all processes of a bench: ms since 1970, with fractions. */
export function wallClock(): number {
  return performance.timeOrigin + performance.now();
}

/** Changes of one kind. Times are those of {@link wallClock}. */
export class Reactions {
  /** From each change until its answer, milliseconds. */
  readonly ms: number[] = [];
  /** When each DIMM changed, by target and address; those without an answer yet. */
  readonly #changed = new Map<string, Map<bigint, number>>();
  /** Answers to what nobody has told of yet. */
  readonly #early = new Map<string, { readonly ranges: RangeSet; readonly at: number }[]>();

  /** The DIMM at `start` has come or gone. */
  changed(target: string, start: bigint, at: number): void {
    const early = this.#early.get(target) ?? [];
    const index = early.findIndex(({ ranges }) => ranges.contains(start));
    const answer = early[index];
    if (answer === undefined) {
      const changed = this.#changed.get(target) ?? new Map<bigint, number>();
      this.#changed.set(target, changed.set(start, at));
      return;
    }
    this.ms.push(Math.max(0, answer.at - at));
    // The same address may change again.
    early[index] = { ...answer, ranges: without(answer.ranges, start) };
  }

  /** Nobody is to say so any more. @returns whether nobody had. */
  forget(target: string, start: bigint): boolean {
    return this.#changed.get(target)?.delete(start) ?? false;
  }

  /** Changes without an answer. */
  get pending(): number {
    return [...this.#changed.values()].reduce((sum, { size }) => sum + size, 0);
  }

  /** A header was installed that says so of `ranges`. */
  answered(target: string, ranges: RangeSet, at: number): void {
    const changed = this.#changed.get(target) ?? new Map<bigint, number>();
    let left = ranges;
    for (const [start, since] of changed) {
      if (!ranges.contains(start)) continue;
      this.ms.push(at - since);
      changed.delete(start);
      left = without(left, start);
    }
    const early = (this.#early.get(target) ?? []).filter((answer) => at - answer.at < WORD_LIMIT_MS);
    this.#early.set(target, left.isEmpty ? early : [...early, { ranges: left, at }]);
  }
}

function without(ranges: RangeSet, start: bigint): RangeSet {
  return ranges.subtract(RangeSet.of([{ start, end: start + DIMM }]));
}
