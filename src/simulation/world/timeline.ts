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

/** Lengths of the stretches in which `condition` holds without a break, ms. */
export function stretches(intervals: readonly Interval[], condition: Condition): readonly number[] {
  const lengths: number[] = [];
  let goesOn = false;
  for (const interval of intervals) {
    const holds = interval.condition === condition;
    if (holds) {
      const before = goesOn ? lengths.pop()! : 0;
      lengths.push(before + interval.end - interval.start);
    }
    goesOn = holds;
  }
  return lengths;
}

/** The longest of them; 0 where there is none. Lists may be longer than a call may have arguments. */
export function longest(lengths: readonly number[]): number {
  return lengths.reduce((most, length) => Math.max(most, length), 0);
}

/** Sums `intervals`, which have no gaps. */
export function sumsOf(intervals: readonly Interval[]): TimelineSums {
  const blind = stretches(intervals, "blind");
  return {
    blindSeconds: sum(blind) / 1000,
    longestBlindSeconds: longest(blind) / 1000,
    blindWindows: blind.length,
    staleSeconds: sum(stretches(intervals, "stale")) / 1000,
    missingByteSeconds:
      sum(intervals.map(({ start, end, missingBytes }) => missingBytes * (end - start))) / 1000,
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
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
