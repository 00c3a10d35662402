/** What a run was like over time: when it was blind, stale and accurate, and the sums over that. */
import type { Condition } from "./state.ts";

/** A stretch of time in which nothing changed that matters to a panic. Milliseconds; bytes. */
export interface Interval {
  readonly start: number;
  readonly end: number;
  readonly condition: Condition;
  /** Online and not described, the whole stretch long. */
  readonly missingBytes: number;
}

/** Sums over a window. Seconds. */
export interface TimelineSums {
  readonly blindSeconds: number;
  /** The longest stretch without a moment in which a capture kernel would have started. */
  readonly longestBlindSeconds: number;
  /** How many such stretches there were. */
  readonly blindWindows: number;
  readonly staleSeconds: number;
  /** Bytes that a dump would have lacked, summed up over the time in which there would have been one. */
  readonly missingByteSeconds: number;
}

/** Collects intervals as the machine changes. */
export class Timeline {
  readonly #intervals: Interval[] = [];
  #since = 0;
  #condition: Condition;
  #missingBytes = 0;

  constructor(condition: Condition) {
    this.#condition = condition;
  }

  /** From `now` on it is like this. */
  record(now: number, condition: Condition, missingBytes: number): void {
    if (condition === this.#condition && missingBytes === this.#missingBytes) return;
    this.#close(now);
    this.#condition = condition;
    this.#missingBytes = missingBytes;
  }

  /** All intervals until `end`, without gaps. Call it once, at the end. */
  finish(end: number): readonly Interval[] {
    this.#close(end);
    return this.#intervals;
  }

  #close(now: number): void {
    if (now <= this.#since) return;
    this.#intervals.push({
      start: this.#since,
      end: now,
      condition: this.#condition,
      missingBytes: this.#missingBytes,
    });
    this.#since = now;
  }
}

/** `intervals` and, from where they end until `end`, what it is like then. */
export function until(
  intervals: readonly Interval[],
  then: Pick<Interval, "condition" | "missingBytes">,
  end: number,
): readonly Interval[] {
  const start = intervals.at(-1)?.end ?? 0;
  return start < end ? [...intervals, { start, end, ...then }] : intervals;
}

/** Sums `intervals`, which have no gaps. */
export function sumsOf(intervals: readonly Interval[]): TimelineSums {
  let blind = 0;
  let stale = 0;
  let missing = 0;
  let longest = 0;
  let windows = 0;
  let current = 0;
  for (const { start, end, condition, missingBytes } of intervals) {
    const length = end - start;
    if (condition !== "blind") {
      current = 0;
      missing += missingBytes * length;
      if (condition === "stale") stale += length;
      continue;
    }
    if (current === 0) windows++;
    blind += length;
    current += length;
    longest = Math.max(longest, current);
  }
  return {
    blindSeconds: blind / 1000,
    longestBlindSeconds: longest / 1000,
    blindWindows: windows,
    staleSeconds: stale / 1000,
    missingByteSeconds: missing / 1000,
  };
}

/** What a panic at a uniformly random moment gives; the three add up to 1. */
export interface PanicOdds {
  readonly noDump: number;
  readonly incomplete: number;
  readonly complete: number;
}

/** Exact odds over all of `intervals`: integrated, not sampled. */
export function panicOdds(intervals: readonly Interval[]): PanicOdds {
  const length = (intervals.at(-1)?.end ?? 0) - (intervals[0]?.start ?? 0);
  const { blindSeconds, staleSeconds } = sumsOf(intervals);
  const noDump = length > 0 ? (blindSeconds * 1000) / length : 0;
  const incomplete = length > 0 ? (staleSeconds * 1000) / length : 0;
  return { noDump, incomplete, complete: 1 - noDump - incomplete };
}

/** What it was like at one moment. */
export function conditionAt(intervals: readonly Interval[], time: number): Condition {
  return (
    intervals.find(({ start, end }) => start <= time && time < end)?.condition ?? intervals.at(-1)!.condition
  );
}
