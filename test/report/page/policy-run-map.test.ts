import { describe, expect, test } from "vitest";
import { policyRunsMap, type KnownMemory } from "../../../src/report/page/policy-run-map.ts";
import { RHEL7 } from "../a-policy-run.ts";
import { missingOnMap } from "./missing-on-map.ts";

const BLOCK = RHEL7.blockBytes;

/** Two DIMMs of two blocks; the second one's blocks come online at one look; a reload describes three blocks. */
const RUN: KnownMemory = {
  ...RHEL7,
  plugs: [
    { at: 0, added: 5, bytes: 2 * BLOCK },
    { at: 30, added: 35, bytes: 2 * BLOCK },
  ],
  dimms: [
    { first: 32, count: 2 },
    { first: 40, count: 2 },
  ],
  onlineAt: [10, 20, 40, 40],
  onlineBlocks: [33, 32, 40, 41],
  headers: [
    { at: -50, described: [] },
    {
      at: 60,
      described: [
        { first: 32, count: 2 },
        { first: 40, count: 1 },
      ],
    },
  ],
  spans: [
    { start: 0, end: 10, state: "accurate", missingBytes: 0 },
    { start: 10, end: 20, state: "stale", missingBytes: BLOCK },
    { start: 20, end: 40, state: "stale", missingBytes: 2 * BLOCK },
    { start: 40, end: 50, state: "stale", missingBytes: 4 * BLOCK },
    { start: 50, end: 60, state: "blind", missingBytes: 0 },
    { start: 60, end: 100, state: "stale", missingBytes: BLOCK },
  ],
};

const { section, leftOut } = policyRunsMap([RUN], () => [], 100);

describe("the map of a policy's run", () => {
  test("has the blocks that were added, at their addresses", () => {
    expect(leftOut).toEqual([]);
    expect(section.cellBytes).toBe(BLOCK);
    expect(section.regions).toEqual([
      { start: 32n * BigInt(BLOCK), cells: 2 },
      { start: 40n * BigInt(BLOCK), cells: 2 },
    ]);
  });

  test("tells what was seen, in its order, with what a panic would have given", () => {
    const [map] = section.runs;
    expect(
      map!.steps.map(({ at, label, number, condition }) => [
        at,
        map!.labels[label]!.replace("{}", String(number)),
        condition,
      ]),
    ).toEqual([
      [0, "the capture kernel is loaded, and nothing was plugged yet", "accurate"],
      [0, "DIMM 0 is plugged: QEMU has added it", "accurate"],
      [10, "memory block 33 comes online", "stale"],
      [20, "memory block 32 comes online", "stale"],
      [30, "DIMM 1 is plugged: QEMU has added it", "stale"],
      [40, "2 memory blocks come online at one look", "stale"],
      [50, "nothing is loaded, or the kexec lock is held: a panic starts no capture kernel", "blind"],
      [60, "another header is seen in the loaded image", "blind"],
      [60, "a capture kernel would start again", "stale"],
    ]);
  });

  test("lacks at each step what the run's timeline says", () => {
    const missing = missingOnMap(section, 0);
    expect(missing.map(({ at }) => at)).toEqual([0, 10, 20, 30, 40, 60]);
    for (const { at, bytes } of missing)
      expect([at, bytes]).toEqual([at, RUN.spans.findLast(({ start }) => start <= at)!.missingBytes]);
  });
});
