/** What a map of memory blocks says is missing, for comparisons with what was measured otherwise. */
import { CELL_CLASSES, type MapSection } from "../../../src/report/page/model.ts";

const MISSING = CELL_CLASSES.indexOf("missing");

/** After the last step of each instant that was not blind: when it was, and what a dump would have lacked. */
export function missingOnMap(
  { cellBytes, runs }: MapSection,
  run: number,
): readonly { readonly at: number; readonly bytes: number }[] {
  const { initial, steps } = runs[run]!;
  const cells = initial.slice();
  return steps.flatMap(({ at, condition, changes }, i) => {
    for (const [from, count, to] of changes) cells.fill(to, from, from + count);
    if (steps[i + 1]?.at === at || condition === "blind") return [];
    return [{ at, bytes: cells.filter((each) => each === MISSING).length * cellBytes }];
  });
}
