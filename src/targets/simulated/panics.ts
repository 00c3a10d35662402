/** Panics at random moments of a run, each of them a real panic of a machine of bytes. */
import { Keeper } from "../../keeper/keeper.ts";
import { seededRandom } from "../../simulation/random.ts";
import { Replay } from "../../simulation/world/replay.ts";
import { type RunOptions, runPolicy, type TimedChange } from "../../simulation/world/run.ts";
import type { Condition } from "../../simulation/world/state.ts";
import { nodeSha256 } from "../sha256.ts";
import { SimulatedTarget } from "./machine.ts";

/** How many panics gave what. */
export type PanicCounts = Readonly<Record<Condition, number>>;

/** What to sample. */
export interface PanicOptions extends Omit<RunOptions, "trace"> {
  readonly count: number;
  readonly seed: number;
  /** Moments are uniform between the scenario's first step and this, ms. */
  readonly window: number;
  /** Called between two panics, and may throw. */
  readonly check: () => void;
}

/** Replays the run on a machine of bytes and panics copies of it. */
export async function panicAtRandom(options: PanicOptions): Promise<PanicCounts> {
  const { scenario, kernel, call, count, seed, window, check } = options;
  const trace: TimedChange[] = [];
  runPolicy({ ...options, trace });
  const random = seededRandom(seed);
  const moments = Array.from({ length: count }, () => random() * window).sort((a, b) => a - b);
  const replay = replayOf({ scenario, kernel, call });
  const counts = { blind: 0, stale: 0, accurate: 0 };
  let next = 0;
  for (const moment of moments) {
    check();
    for (; next < trace.length && trace[next]!.at <= moment; next++) await replay.apply(trace[next]!.change);
    counts[replay.condition]++;
  }
  return counts;
}

/** A replay in which the real keeper, with its digests and write plans, keeps the header from outside. */
export function replayOf(options: Pick<RunOptions, "scenario" | "kernel" | "call">): Replay {
  return new Replay({
    ...options,
    sha256: nodeSha256,
    keep: async (machine) => {
      await new Keeper(new SimulatedTarget("sim:replay", machine), nodeSha256).reconcile();
    },
  });
}
