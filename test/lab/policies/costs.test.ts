import { buildCoreHeader } from "../../../src/elfcore/build.ts";
import { encodeCoreHeader } from "../../../src/elfcore/encode.ts";
import type { HeaderRecord } from "../../../src/lab/window/poll.ts";
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
  throttled: false,
  keeper: false,
  kernelUpdates: false,
};

function event(action: string, told: number, done: number | undefined): MemoryEvent {
  return { action, block: 1, told, done };
}

describe("measured costs", () => {
  test("are unknown where there was nothing to measure", () => {
    expect(new Set(Object.values(measureCosts(NOTHING)))).toEqual(new Set([undefined]));
  });

  test("of hot-add and of onlining are by DIMM", () => {
    const blocks = [100, 110, 120, 500, 530].map((at, index) => {
      const start = BigInt(index) * BLOCK;
      return { at, range: { start, end: start + BLOCK } };
    });
    const plugs = [
      { at: 0, added: 60, start: 0n, end: 3n * BLOCK },
      { at: 400, added: 440, start: 3n * BLOCK, end: 5n * BLOCK },
    ];
    const costs = measureCosts({ ...NOTHING, plugs, blocks });
    expect(costs).toMatchObject({
      hotAddMs: 50,
      hotAddPerBlockMs: 20,
      firstOnlineMs: 50,
      onlineBlockMs: 20,
    });
    // DIMMs whose blocks come online in turns: one every 10, though each DIMM's own are 20 apart.
    const inTurns = [0, 3, 1, 4].map((index, at) => ({ ...blocks[index]!, at: 500 + 10 * at }));
    expect(measureCosts({ ...NOTHING, plugs, blocks: inTurns }).onlineBlockMs).toBe(10);
  });

  test("of our reaction are by DIMM too: from its plug until the header describes it", () => {
    const header = (at: number, blocks: bigint): HeaderRecord => ({
      at,
      bytes: encodeCoreHeader(
        buildCoreHeader({
          cpuNotes: [{ paddr: 0x1000n, size: 368n }],
          vmcoreinfo: { paddr: 0x2000n, size: 4132n },
          kernelText: { paddr: 0x100_0000n, vaddr: 0xffff_ffff_8100_0000n, size: 0x1000n },
          ram: [{ start: 0n, end: blocks * BLOCK }],
          pageOffset: 0xffff_8880_0000_0000n,
        }),
      ),
    });
    const plugs = [
      { at: 0, added: 60, start: 1n * BLOCK, end: 2n * BLOCK },
      { at: 100, added: 160, start: 2n * BLOCK, end: 3n * BLOCK },
    ];
    const observation = {
      ...NOTHING.observation,
      headers: [header(-10, 1n), header(30, 2n), header(190, 3n)],
    };
    expect(measureCosts({ ...NOTHING, observation, plugs, keeper: true }).reactionMs).toBe(60);
    expect(measureCosts({ ...NOTHING, observation, plugs }).reactionMs).toBeUndefined();
  });

  test("of a program's start are from its event to its reload, with a throttler to the event's end", () => {
    const events = [event("add", 0, 5), event("online", 10, 1060), event("online", 20, 5000)];
    const reloads = [{ start: 50, unloaded: 60, end: 1050 }];
    expect(measureCosts({ ...NOTHING, events, reloads }).programStartMs).toBe(40);
    expect(measureCosts({ ...NOTHING, events, reloads, throttled: true }).programStartMs).toBe(1050);
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

  test("tell the kernel's own rewrite, which takes the image away too, from a load", () => {
    const states = [
      { at: 0, image: true, locked: false },
      { at: 10, image: true, locked: true },
      { at: 11, image: false, locked: true },
      { at: 14, image: true, locked: false },
      { at: 100, image: false, locked: true },
      { at: 800, image: true, locked: false },
    ];
    const observation = { ...NOTHING.observation, states };
    const sources = { ...NOTHING, observation, kernelUpdates: true };
    const reloads = [{ start: 90, unloaded: 95, end: 810 }];
    expect(measureCosts({ ...sources, reloads })).toMatchObject({ loadMs: 700, kernelUpdateMs: 4 });
    const alone = { ...observation, states: states.slice(0, 4) };
    const without = measureCosts({ ...sources, observation: alone });
    expect(without).toMatchObject({ loadMs: undefined, kernelUpdateMs: 4 });
  });

  test("of an idle udevd's event are its burst's, of an online event its own", () => {
    const costs = measureCosts({
      ...NOTHING,
      idleEvents: [event("change", 10, 14), event("change", 11, 16), event("change", 12, undefined)],
      events: [
        event("add", 0, 100),
        event("online", 5, 25),
        event("online", 6, undefined),
        event("online", 30, 50),
      ],
    });
    expect(costs).toMatchObject({ udevEventMs: 3, onlineEventMs: 20, onlineEventsMs: 45 });
  });
});

test("a median is the middle one, or the mean of the middle two", () => {
  expect([[], [3], [9, 1], [5, 1, 9]].map(median)).toEqual([undefined, 3, 5, 5]);
});
