/** How many steps the maps of one page may have together. */
import type { MapRun } from "./model.ts";

/** Steps of all runs of one map, at most: above it runs are left out. */
export const MAX_STEPS = 30_000;

/** Runs that fit together, in their order, the first one always; and the names of those that do not. */
export function fittingRuns(runs: readonly (() => MapRun)[]): {
  readonly maps: readonly MapRun[];
  readonly leftOut: readonly string[];
} {
  const maps: MapRun[] = [];
  const leftOut: string[] = [];
  let steps = 0;
  // Made one by one, so that one that does not fit is not kept.
  for (const make of runs) {
    const map = make();
    if (maps.length > 0 && steps + map.steps.length > MAX_STEPS) {
      leftOut.push(map.name);
      continue;
    }
    steps += map.steps.length;
    maps.push(map);
  }
  return { maps, leftOut };
}
