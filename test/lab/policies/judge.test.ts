import { describe, expect, test } from "vitest";
import type { Verdict } from "../../../src/keeper/audit.ts";
import { MeasurementError } from "../../../src/lab/errors.ts";
import { judgePolicy } from "../../../src/lab/policies/judge.ts";
import { parsePolicyLog } from "../../../src/lab/policies/log.ts";
import type { Played } from "../../../src/lab/policies/play.ts";
import { labPolicy } from "../../../src/lab/policies/policy.ts";
import { buildCoreHeader } from "../../../src/elfcore/build.ts";
import { encodeCoreHeader } from "../../../src/elfcore/encode.ts";
import type { PhysicalRange } from "../../../src/layout/range.ts";
import { RangeSet } from "../../../src/layout/range-set.ts";
import { PAGE_OFFSET } from "../../elfcore/samples.ts";

const BLOCK = 128 * 2 ** 20;
const PAGES = 32768;
const [ACCURATE, INACCURATE] = (["accurate", "inaccurate"] as const).map((verdict: Verdict) => ({
  verdict,
  reason: "x",
  image: undefined,
  layout: { backed: RangeSet.empty, devices: [], cpus: [], canGrow: undefined },
  missing: RangeSet.empty,
  stale: RangeSet.empty,
  cpus: {
    present: 2,
    described: 2,
    possible: undefined,
    missing: [],
    undescribed: [],
    unknown: undefined,
  },
  warnings: [],
}));

/** Two blocks, online at 1150 and 1200 by the host's clock; one reload for both, blind from 1300 to 1400. */
const PLAYED: Played = {
  release: "6.1.0",
  kernelUpdates: false,
  observation: {
    start: 900,
    end: 2000,
    states: [
      { at: 900, image: true, locked: false },
      { at: 1300, image: false, locked: true },
      { at: 1400, image: true, locked: false },
    ],
    headers: [],
    pages: [
      { at: 900, pages: 1000 },
      { at: 1150, pages: 1000 + PAGES },
      { at: 1200, pages: 1000 + 2 * PAGES },
    ],
    samples: 5000,
    medianGapMs: 0.2,
    worstGapMs: 3,
  },
  plugs: [{ at: 1000, added: 1100, start: 32n * BigInt(BLOCK), end: 34n * BigInt(BLOCK) }],
  blocks: 2,
  blockBytes: BLOCK,
  events: [33, 32].map((block) => ({ action: "online", block, told: block, done: block + 5 })),
  idleEvents: [],
  log: parsePolicyLog("throttled\nreload 5.00 5.01 5.20 0 0\n"),
  installs: [],
  audit: INACCURATE!,
};

/** A header that describes boot RAM and `ram`. */
function header(...ram: readonly PhysicalRange[]): Uint8Array {
  return encodeCoreHeader(
    buildCoreHeader({
      cpuNotes: [{ paddr: 0x1000n, size: 368n }],
      vmcoreinfo: { paddr: 0x2000n, size: 4096n },
      kernelText: { paddr: 0x100_0000n, vaddr: 0xffff_ffff_8100_0000n, size: 0x100_0000n },
      ram: [{ start: 0x10_0000n, end: 1n << 30n }, ...ram],
      pageOffset: PAGE_OFFSET,
    }),
  );
}

describe("a run's result", () => {
  test("has all times from the first plug on", () => {
    const result = judgePolicy(labPolicy("none"), PLAYED);
    expect(result).toMatchObject({
      onlineAt: [150, 200],
      plugs: [{ at: 0, added: 100, bytes: 2 * BLOCK }],
      dimms: [{ first: 32, count: 2 }],
      onlineBlocks: [33, 32],
      runMs: 400,
      failures: [],
    });
    expect(result.spans[0]).toMatchObject({ start: 0, end: 150, state: "accurate" });
    expect(result.figures).toEqual({
      reloads: 1,
      blindMs: 100,
      longestBlindMs: 100,
      blindWindows: 1,
      // Stale for good from the reload on: counted until the last change, which that is.
      staleMs: 150,
      longestStaleMs: 150,
      missingByteSeconds: BLOCK * 0.05 + 2 * BLOCK * 0.1,
      accurateAfterMs: undefined,
    });
  });

  test("has the added blocks that each header described, where that changed", () => {
    const [start, middle] = [32n * BigInt(BLOCK), 33n * BigInt(BLOCK)];
    const headers = [
      { at: 900, bytes: header() },
      { at: 1210, bytes: header({ start, end: middle }) },
      { at: 1220, bytes: header({ start, end: middle }) },
      // The second block only in part.
      { at: 1230, bytes: header({ start, end: middle + 4096n }) },
      { at: 1240, bytes: header({ start, end: middle + BigInt(BLOCK) }) },
      { at: 1250, bytes: header().subarray(0, 70) },
    ];
    const observation = { ...PLAYED.observation, headers };
    expect(judgePolicy(labPolicy("none"), { ...PLAYED, observation }).headers).toEqual([
      { at: -100, described: [] },
      { at: 210, described: [{ first: 32, count: 1 }] },
      { at: 240, described: [{ first: 32, count: 2 }] },
      { at: 250, described: [] },
    ]);
  });

  test("is a failure where the audit at the end is not what the policy promises", () => {
    const { promised, failures } = judgePolicy(labPolicy("rhel8"), PLAYED);
    expect(promised).toBe("accurate");
    expect(failures).toEqual(["kdump is inaccurate at the end, not accurate"]);
  });

  test("promises more on a kernel that updates its header itself", () => {
    const { promised } = judgePolicy(labPolicy("none"), { ...PLAYED, kernelUpdates: true });
    expect(promised).toBe("accurate");
  });

  test("is a failure where an event led to nothing, or a command went wrong", () => {
    const log = parsePolicyLog("reload 5.00 5.01 5.20 0 255\n");
    const { failures } = judgePolicy(labPolicy("rhel7"), { ...PLAYED, log, audit: ACCURATE! });
    expect(failures).toEqual([
      "1 of 2 events led to a reload, or to one that was to come",
      "a load ended with status 255",
    ]);
  });

  test("is none where the guest did not tell of every block", () => {
    const events = PLAYED.events.slice(1);
    expect(() => judgePolicy(labPolicy("none"), { ...PLAYED, events })).toThrow(MeasurementError);
  });
});
