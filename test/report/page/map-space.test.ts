import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { halfOpen } from "../../../src/layout/range.ts";
import { RangeSet } from "../../../src/layout/range-set.ts";
import { changesBetween, mapOfMoments } from "../../../src/report/page/map-space.ts";
import { CELL_CLASSES } from "../../../src/report/page/model.ts";
import { packRun } from "../../../src/report/page/pack.ts";
import { cellPaths, unpackRun } from "../../../src/report/page/shared.ts";

const MIB = 1n << 20n;
const HEAD = { title: "t", words: {} };

function cellsAt(map: ReturnType<typeof mapOfMoments>, step: number): Uint8Array {
  return unpackRun(packRun(map.runs[0]!)).cells(step);
}

describe("ranges as cells", () => {
  test("have room for any ranges at all, and count their bytes exactly", () => {
    const ranges = fc.array(
      fc
        .tuple(fc.bigInt(0n, (1n << 64n) - 2n), fc.bigInt(1n, 1n << 40n))
        .map(([start, size]) => halfOpen(start, start + size > 1n << 64n ? 1n << 64n : start + size)),
      { minLength: 1, maxLength: 60 },
    );
    fc.assert(
      fc.property(ranges, (all) => {
        const held = RangeSet.of(all);
        const map = mapOfMoments(HEAD, [
          { name: "", moments: [{ text: "now", condition: "accurate", classes: { held } }] },
        ]);
        const cells = map.regions.reduce((sum, region) => sum + region.cells, 0);
        expect(cells).toBeLessThanOrEqual(1024);
        expect(map.regions.length).toBeLessThanOrEqual(16);
        expect(map.runs[0]!.steps[0]!.bytes).toEqual(
          CELL_CLASSES.map((name) => (name === "held" ? Number(held.bytes) : 0)),
        );
        // Each range is somewhere on the map.
        const shown = [...cellsAt(map, 0)].filter((cell) => cell === CELL_CLASSES.indexOf("held")).length;
        expect(shown).toBeGreaterThan(0);
        expect(BigInt(shown) * BigInt(map.cellBytes) >= held.bytes).toBe(true);
      }),
    );
  });

  test("show in one cell what matters most of it, however small", () => {
    const held = RangeSet.of([halfOpen(0n, 2048n * MIB)]);
    const missing = RangeSet.of([halfOpen(0x1000n, 0x2000n)]);
    const map = mapOfMoments(HEAD, [
      { name: "", moments: [{ text: "now", condition: "stale", classes: { missing, held } }] },
    ]);
    expect(map.cellBytes).toBe(Number(2n * MIB));
    expect(CELL_CLASSES[cellsAt(map, 0)[0]!]).toBe("missing");
    expect(CELL_CLASSES[cellsAt(map, 0)[1]!]).toBe("held");
  });
});

test("changes between two moments, made to the first one, give the second one", () => {
  const cells = fc.uint8Array({ min: 0, max: 6, minLength: 30, maxLength: 30 });
  fc.assert(
    fc.property(cells, cells, (before, after) => {
      const made = before.slice();
      for (const [from, count, cell] of changesBetween(before, after)) made.fill(cell, from, from + count);
      expect(made).toEqual(after);
    }),
  );
});

test("paths cover each cell once, by its class, row by row", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ min: 0, max: 6, minLength: 1, maxLength: 200 }),
      fc.integer({ min: 1, max: 40 }),
      (cells, columns) => {
        const painted = new Map<number, number>();
        for (const [cell, path] of cellPaths(cells, 0, cells.length, columns, 7).entries())
          for (const [, x = "", y = "", width = ""] of path.matchAll(/M(\d+) (\d+)h(\d+)v10h-\d+z/g))
            for (let i = 0; i < Number(width) / 10; i++) {
              const at = (Number(y) / 10) * columns + Number(x) / 10 + i;
              expect(painted.has(at)).toBe(false);
              painted.set(at, cell);
            }
        expect(Array.from(cells, (_, i) => painted.get(i))).toEqual([...cells]);
      },
    ),
  );
});
