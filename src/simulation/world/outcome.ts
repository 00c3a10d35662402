/** Several policies' runs of one scenario, made comparable: the same window of time for all. */
import type { PolicyRun } from "./run.ts";
import { type Interval, panicOdds, type PanicOdds, sumsOf, type TimelineSums, until } from "./timeline.ts";

/** What a policy comes to, within the window. Seconds and bytes. */
export interface PolicyOutcome extends TimelineSums {
  readonly run: PolicyRun;
  /** When udev had worked on the last event. */
  readonly processedSeconds: number;
  /** From when on the header was accurate for good; undefined where it never is. */
  readonly accurateSeconds: number | undefined;
  /** What a panic at a uniformly random moment of the window gives: integrated, not sampled. */
  readonly odds: PanicOdds;
  /** The whole window. */
  readonly intervals: readonly Interval[];
}

/** All policies' outcomes. */
export interface Comparison {
  /** From the scenario's first step until nothing goes on any more under the slowest policy. */
  readonly windowSeconds: number;
  readonly outcomes: readonly PolicyOutcome[];
}

/** Makes `runs` of one scenario comparable. Under a policy that is done earlier, things stay as they are until then. */
export function compareRuns(runs: readonly PolicyRun[]): Comparison {
  const window = Math.max(...runs.map(({ quiet }) => quiet));
  return {
    windowSeconds: window / 1000,
    outcomes: runs.map((run) => {
      const intervals = until(run.intervals, run.final, window);
      return {
        run,
        ...sumsOf(intervals),
        processedSeconds: run.processed / 1000,
        accurateSeconds: run.accurate === undefined ? undefined : run.accurate / 1000,
        odds: panicOdds(intervals),
        intervals,
      };
    }),
  };
}
