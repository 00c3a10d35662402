import { describe, expect, test } from "vitest";
import { encodeCoreHeader } from "../../../src/elfcore/encode.ts";
import type { PhysicalRange } from "../../../src/layout/range.ts";
import { buildCoreHeader } from "../../../src/elfcore/build.ts";
import { MeasurementError } from "../../../src/lab/errors.ts";
import type { Observation } from "../../../src/lab/window/poll.ts";
import { onlineBlocks, timelineOf, totalOf } from "../../../src/lab/window/timeline.ts";
import { PAGE_OFFSET } from "../../elfcore/samples.ts";

const MIB = 1n << 20n;
const BLOCK = 128n * MIB;
const BLOCK_PAGES = 32768;
const HOT = 4n << 30n;

function block(index: number): PhysicalRange {
  const start = HOT + BigInt(index) * BLOCK;
  return { start, end: start + BLOCK };
}

/** A header that describes boot RAM and the first `blocks` blocks of added memory. */
function header(blocks: number): Uint8Array {
  const added = blocks === 0 ? [] : [{ start: HOT, end: HOT + BigInt(blocks) * BLOCK }];
  return encodeCoreHeader(
    buildCoreHeader({
      cpuNotes: [{ paddr: 0x1000n, size: 368n }],
      vmcoreinfo: { paddr: 0x2000n, size: 4096n },
      kernelText: { paddr: 0x100_0000n, vaddr: 0xffff_ffff_8100_0000n, size: 0x100_0000n },
      ram: [{ start: 0x10_0000n, end: 1n << 30n }, ...added],
      pageOffset: PAGE_OFFSET,
    }),
  );
}

function observed(parts: Partial<Observation>): Observation {
  return {
    start: 0,
    end: 100,
    states: [{ at: 0, image: true, locked: false }],
    headers: [{ at: 0, bytes: header(0) }],
    pages: [],
    samples: 100,
    medianGapMs: 1,
    worstGapMs: 1,
    ...parts,
  };
}

describe("blocks online", () => {
  test("are as many as memory has grown by blocks, in the guest's order", () => {
    const pages = [
      { at: 0, pages: 500 },
      { at: 10, pages: 500 + BLOCK_PAGES / 2 },
      { at: 20, pages: 500 + BLOCK_PAGES },
      { at: 30, pages: 500 + 3 * BLOCK_PAGES },
    ];
    expect(onlineBlocks(pages, [block(1), block(0), block(2)])).toEqual([
      { at: 20, range: block(1) },
      { at: 30, range: block(0) },
      { at: 30, range: block(2) },
    ]);
  });

  test("cannot be more than that", () => {
    const pages = [
      { at: 0, pages: 500 },
      { at: 10, pages: 500 + BLOCK_PAGES },
    ];
    expect(() => onlineBlocks(pages, [block(0), block(1)])).toThrow(MeasurementError);
    expect(() => onlineBlocks(pages, [block(0), block(1)])).toThrow("told of 2 blocks");
  });
});

describe("a timeline", () => {
  test("is stale from the first block that is online and not described, by how much, until a header has it", () => {
    const observation = observed({
      headers: [
        { at: 0, bytes: header(0) },
        { at: 40, bytes: header(2) },
      ],
    });
    const blocks = [
      { at: 20, range: block(0) },
      { at: 30, range: block(1) },
    ];
    expect(timelineOf(observation, blocks, 5)).toEqual([
      { start: 5, end: 20, state: "accurate", missingBytes: 0 },
      { start: 20, end: 30, state: "stale", missingBytes: Number(BLOCK) },
      { start: 30, end: 40, state: "stale", missingBytes: Number(2n * BLOCK) },
      { start: 40, end: 100, state: "accurate", missingBytes: 0 },
    ]);
  });

  test("is not stale for memory that is described before it is online", () => {
    const observation = observed({ headers: [{ at: 0, bytes: header(4) }] });
    const spans = timelineOf(observation, [{ at: 20, range: block(3) }], 0);
    expect(spans).toEqual([{ start: 0, end: 100, state: "accurate", missingBytes: 0 }]);
  });

  test("is blind while nothing is loaded or the lock is held, whatever is missing", () => {
    const observation = observed({
      states: [
        { at: 0, image: true, locked: false },
        { at: 10, image: false, locked: false },
        { at: 20, image: false, locked: true },
        { at: 30, image: true, locked: true },
        { at: 40, image: true, locked: false },
      ],
    });
    const spans = timelineOf(observation, [{ at: 5, range: block(0) }], 0);
    expect(spans.map(({ start, state }) => [start, state])).toEqual([
      [0, "accurate"],
      [5, "stale"],
      [10, "blind"],
      [40, "stale"],
    ]);
    expect(spans[2]?.missingBytes).toBe(0);
  });

  test("takes a header that cannot be read for one that describes nothing", () => {
    const observation = observed({ headers: [{ at: 0, bytes: header(1).subarray(0, 70) }] });
    expect(timelineOf(observation, [{ at: 0, range: block(0) }], 0)).toEqual([
      { start: 0, end: 100, state: "stale", missingBytes: Number(BLOCK) },
    ]);
  });

  test("adds up, with neighbours of one state as one", () => {
    const spans = [
      { start: 0, end: 10, state: "accurate", missingBytes: 0 },
      { start: 10, end: 15, state: "stale", missingBytes: 1 },
      { start: 15, end: 30, state: "stale", missingBytes: 2 },
      { start: 30, end: 40, state: "blind", missingBytes: 0 },
      { start: 40, end: 41, state: "stale", missingBytes: 2 },
    ] as const;
    expect(totalOf(spans, "stale")).toEqual({ ms: 21, longestMs: 20, count: 2 });
    expect(totalOf(spans, "blind")).toEqual({ ms: 10, longestMs: 10, count: 1 });
    expect(totalOf([], "blind")).toEqual({ ms: 0, longestMs: 0, count: 0 });
  });
});
