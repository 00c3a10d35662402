/** Ranges of physical memory as cells of a map. */
import type { PhysicalRange } from "../../layout/range.ts";
import { RangeSet } from "../../layout/range-set.ts";
import { CELL_CLASSES, type CellClass, type MapRegion, type MapSection, type MapStep } from "./model.ts";

/** Cells of a map of ranges, at most. */
const MAX_CELLS = 1024;
/** Stretches of addresses with a gap between, at most; above that cells are so large that gaps vanish. */
const MAX_REGIONS = 16;
const SMALLEST_CELL = 1n << 20n;

/** Which ranges are of which class at one moment. */
export type Classes = Readonly<Partial<Record<CellClass, RangeSet>>>;

/** A moment of a map of ranges. */
export interface Moment extends Pick<MapStep, "condition"> {
  readonly text: string;
  readonly classes: Classes;
}

/**
 * A map whose cells are as large as they must be for all ranges to have their place, 1 MiB at least. A cell with
 * something of several classes shows the one that matters most; bytes are exact.
 */
export function mapOfMoments(
  head: Pick<MapSection, "title" | "text" | "words">,
  runs: readonly { readonly name: string; readonly moments: readonly Moment[] }[],
): MapSection {
  const all = runs.flatMap(({ moments }) =>
    moments.flatMap(({ classes }) => Object.values(classes).flatMap(({ ranges }) => ranges)),
  );
  const { cellBytes, regions } = spaceFor(RangeSet.of(all));
  const count = regions.reduce((sum, { cells }) => sum + cells, 0);
  return {
    ...head,
    kind: "map",
    cellBytes: Number(cellBytes),
    regions,
    runs: runs.map(({ name, moments }) => {
      let before = new Uint8Array(count);
      const steps = moments.map((moment, label): MapStep => {
        const cells = cellsOf(moment.classes, regions, cellBytes, count);
        const changes = changesBetween(before, cells);
        before = cells;
        return {
          at: 0,
          label,
          number: 0,
          condition: moment.condition,
          changes,
          bytes: CELL_CLASSES.map((name_) => Number(moment.classes[name_]?.bytes ?? 0n)),
        };
      });
      return { name, initial: new Uint8Array(count), steps, labels: moments.map(({ text }) => text) };
    }),
  };
}

function spaceFor(all: RangeSet): { readonly cellBytes: bigint; readonly regions: readonly MapRegion[] } {
  for (let cellBytes = SMALLEST_CELL; ; cellBytes *= 2n) {
    const aligned = RangeSet.of(all.ranges.map((range) => outwards(range, cellBytes))).ranges;
    const regions = aligned.map(({ start, end }) => ({ start, cells: Number((end - start) / cellBytes) }));
    const cells = regions.reduce((sum, region) => sum + region.cells, 0);
    if (cells <= MAX_CELLS && regions.length <= MAX_REGIONS) return { cellBytes, regions };
  }
}

function outwards({ start, end }: PhysicalRange, cell: bigint): PhysicalRange {
  return { start: start - (start % cell), end: end + ((cell - (end % cell)) % cell) };
}

function cellsOf(
  classes: Classes,
  regions: readonly MapRegion[],
  cellBytes: bigint,
  count: number,
): Uint8Array<ArrayBuffer> {
  const cells = new Uint8Array(count);
  for (const [rank, name] of CELL_CLASSES.entries()) {
    for (const { start, end } of classes[name]?.ranges ?? []) {
      let from = 0;
      for (const region of regions) {
        const size = BigInt(region.cells) * cellBytes;
        if (start >= region.start && start < region.start + size) {
          const first = from + Number((start - region.start) / cellBytes);
          const last = from + Number((end - 1n - region.start) / cellBytes);
          cells.fill(rank, first, last + 1);
        }
        from += region.cells;
      }
    }
  }
  return cells;
}

/** Runs of cells that are of another class in `after`. */
export function changesBetween(before: Uint8Array, after: Uint8Array): MapStep["changes"] {
  const changes: [number, number, number][] = [];
  for (let i = 0; i < after.length; i++) {
    if (before[i] === after[i]) continue;
    const last = changes.at(-1);
    if (last && last[0] + last[1] === i && last[2] === after[i]) last[1]++;
    else changes.push([i, 1, after[i]!]);
  }
  return changes;
}
