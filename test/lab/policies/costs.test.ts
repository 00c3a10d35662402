import { describe, expect, test } from "vitest";
import { type CostSources, measureCosts, median } from "../../../src/lab/policies/costs.ts";
import type { MemoryEvent } from "../../../src/lab/udev-monitor.ts";

const BLOCK = 128n << 20n;
const NOTHING: CostSources = {
  observation: {
    start: 0,
    end: 10_000,
    states: [{ at: 0, image: true, locked: false }],
    headers: [],
    pages: [],
    samples: 1,
    medianGapMs: 0,
    worstGapMs: 0,
  },
  plugs: [],
  blocks: [],
  idleEvents: [],
  events: [],
  reloads: [],
  installs: [],
  kernelUpdates: false,
};

function event(action: string, told: number, done: number | undefined): MemoryEvent {
  return { action, block: 1, told, done };
}

describe("measured costs", () => {
  test("are unknown where there was nothing to measure", () => {
    expect(new Set(Object.values(measureCosts(NOTHING)))).toEqual(new Set([undefined]));
  });

  test("of hot-add and onlining are by DIMM: the gap between two does not count", () => {
    const blocks = [100, 110, 120, 500, 530].map((at, index) => {
      const start = BigInt(index) * BLOCK;
      return { at, range: { start, end: start + BLOCK } };
    });
    const plugs = [
      { at: 0, added: 60, start: 0n, end: 3n * BLOCK },
      { at: 400, added: 440, start: 3n * BLOCK, end: 5n * BLOCK },
    ];
    const costs = measureCosts({ ...NOTHING, plugs, blocks, installs: [30, 450] });
    expect(costs).toMatchObject({ hotAddMs: 50, hotAddPerBlockMs: 20, onlineBlockMs: 20, reactionMs: 40 });
  });

  test("of a reload add up: unload by its log, system call from outside, the rest is work", () => {
    const states = [
      { at: 0, image: true, locked: false },
      // The unload's own lock is no load.
      { at: 100, image: true, locked: true },
      { at: 101, image: false, locked: false },
      { at: 300, image: false, locked: true },
      { at: 999, image: true, locked: true },
      { at: 1000, image: true, locked: false },
    ];
    const reloads = [{ start: 50, unloaded: 110, end: 1010 }];
    const observation = { ...NOTHING.observation, states };
    expect(measureCosts({ ...NOTHING, observation, reloads })).toMatchObject({
      reloadMs: 960,
      unloadMs: 60,
      workMs: 200,
      loadMs: 700,
      kernelUpdateMs: undefined,
    });
  });

  test("of the kernel's own rewrite are the locks that it holds", () => {
    const states = [0, 10, 12, 20, 26].map((at, index) => ({ at, image: true, locked: index % 2 === 1 }));
    const observation = { ...NOTHING.observation, states };
    expect(measureCosts({ ...NOTHING, observation, kernelUpdates: true }).kernelUpdateMs).toBe(4);
  });

  test("of an idle udevd's event are its burst's, of an online event its own", () => {
    const costs = measureCosts({
      ...NOTHING,
      idleEvents: [event("change", 10, 14), event("change", 11, 16), event("change", 12, undefined)],
      events: [event("add", 0, 100), event("online", 5, 25), event("online", 6, undefined)],
    });
    expect(costs).toMatchObject({ udevEventMs: 3, onlineEventMs: 20 });
  });
});

test("a median is the middle one, or the mean of the middle two", () => {
  expect([[], [3], [9, 1], [5, 1, 9]].map(median)).toEqual([undefined, 3, 5, 5]);
});
