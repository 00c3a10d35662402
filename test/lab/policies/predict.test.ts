import { describe, expect, test } from "vitest";
import type { LabPolicyName } from "../../../src/lab/policies/policy.ts";
import { findings, predictRun } from "../../../src/lab/policies/predict.ts";
import type { PolicyFigures, PolicyRunResult } from "../../../src/lab/policy-run.ts";

const BLOCK = 2 ** 27;
const NO_FIGURES: PolicyFigures = {
  reloads: 0,
  blindMs: 0,
  longestBlindMs: 0,
  blindWindows: 0,
  staleMs: 0,
  longestStaleMs: 0,
  missingByteSeconds: 0,
  accurateAfterMs: 0,
};

/** Two DIMMs of four blocks, the second 200 ms after the first; round costs. */
function run(policy: LabPolicyName, more: Partial<PolicyRunResult> = {}): PolicyRunResult {
  return {
    case: { policy, load: "kexec_file_load", ramMiB: 1024, crashkernelMiB: 256, dimmsMiB: [512, 512] },
    release: "6.1.0",
    udev: { suite: "bookworm", version: "252.39-1~deb12u1" },
    boots: 1,
    kernelUpdates: false,
    blocks: 8,
    blockBytes: BLOCK,
    events: 16,
    figures: NO_FIGURES,
    costs: {
      hotAddMs: 100,
      hotAddPerBlockMs: 25,
      firstOnlineMs: 20,
      onlineBlockMs: 10,
      udevEventMs: 1,
      onlineEventMs: 50,
      onlineEventsMs: 80,
      programStartMs: 60,
      reloadMs: 1000,
      unloadMs: 20,
      workMs: 180,
      loadMs: 800,
      kernelUpdateMs: 4,
      reactionMs: 150,
    },
    throttled: 0,
    skipped: 0,
    headerChanges: 0,
    installs: [],
    runMs: 10_000,
    plugs: [0, 200].map((at) => ({ at, added: at + 100, bytes: 4 * BLOCK })),
    dimms: [],
    onlineAt: [],
    onlineBlocks: [],
    headers: [],
    resolution: { samples: 1, medianGapMs: 0.3, worstGapMs: 1 },
    spans: [],
    verdict: "accurate",
    verdictReason: "",
    promised: "accurate",
    failures: [],
    ...more,
  };
}

describe("a prediction from a run's own costs", () => {
  test("rhel7 and debian: one reload for each block, blind for work and system call", () => {
    for (const policy of ["rhel7", "debian"] as const)
      expect(predictRun(run(policy))).toMatchObject({ reloads: 8, blindMs: 8 * 980, longestBlindMs: 980 });
  });

  test("rhel7: stale from the first block until the first unload has ended", () => {
    // udev takes up an event 10 after it, works 1 on it; the first block is online at 100 + 10 + 1 + 10. Then again
    // 10 and 1, the rest of the program's start 50, the unload 20.
    expect(predictRun(run("rhel7")).staleMs).toBe(81);
  });

  test("what a rule only starts keeps no worker of udev for as long as the first one took to begin", () => {
    // A load takes 980. The start of 600 would let 40 events keep ten workers until 2,500: into a third load.
    const base = run("reload-over");
    const plugs = [{ at: 0, added: 100, bytes: 40 * BLOCK }];
    const costs = { ...base.costs, programStartMs: 600, onlineEventsMs: 800 };
    const { reloads } = predictRun({ ...base, blocks: 40, plugs, costs });
    expect(reloads).toBe(2);
    const slow = { ...base, blocks: 40, plugs, costs: { ...costs, onlineEventsMs: 2500 } };
    expect(predictRun(slow).reloads).toBe(3);
    // Debian's rule waits for its reload: there it is the worker's time.
    const waits = { ...run("debian"), blocks: 40, plugs, costs };
    expect(predictRun(waits).reloads).toBe(40);
  });

  test("rhel8: one reload for both, a second after the first event", () => {
    expect(predictRun(run("rhel8"))).toMatchObject({ reloads: 1, blindMs: 980 });
  });

  test("in-place: stale where the guest is faster than our reaction, never blind", () => {
    // Each DIMM's first block is online 121 ms after its plug, our header is there after 150.
    const { staleMs, blindMs, accurateAfterMs } = predictRun(run("in-place"));
    expect([staleMs, blindMs, accurateAfterMs]).toEqual([58, 0, 350]);
  });

  test("none: stale for good, counted until the last block is online", () => {
    // The first of eight blocks is online 121 after the first plug, the last 121 and 30 after the second.
    const { staleMs, longestStaleMs, accurateAfterMs } = predictRun(run("none"));
    expect([staleMs, longestStaleMs, accurateAfterMs]).toEqual([230, 230, undefined]);
  });

  test("kernel: blind for each of its rewrites", () => {
    expect(predictRun(run("kernel", { kernelUpdates: true }))).toMatchObject({ blindMs: 8 * 4, staleMs: 0 });
  });

  test("memory blocks of another size are not simulated", () => {
    expect(() => predictRun(run("none", { blockBytes: 2 ** 31 }))).toThrow(/Memory blocks have 2147483648/);
  });
});

function seen(figures: PolicyFigures, more: Partial<PolicyRunResult> = {}): PolicyRunResult {
  return run("rhel7", { figures, ...more });
}

describe("findings", () => {
  test("are figures further than 25 % from what was predicted", () => {
    const predicted = { ...NO_FIGURES, reloads: 8, blindMs: 1000, accurateAfterMs: 4000 };
    expect(findings(seen(predicted), predicted)).toEqual([]);
    expect(findings(seen({ ...predicted, blindMs: 1300 }), predicted)).toEqual([]);
    expect(findings(seen({ ...predicted, blindMs: 1400, reloads: 12 }), predicted)).toEqual([
      "reloads: 12, predicted 8",
      "no dump, in all: 1400 ms, predicted 1000 ms",
    ]);
  });

  test("are none where nobody can tell the difference on such a machine", () => {
    expect(findings(seen({ ...NO_FIGURES, staleMs: 25 }), NO_FIGURES)).toEqual([]);
  });

  test("say where the longest time without dump began while the guest was busy", () => {
    const figures = { ...NO_FIGURES, longestBlindMs: 900 };
    const spans = [{ start: 40, end: 940, state: "blind", missingBytes: 0 }] as const;
    const text = "longest without dump: 900 ms, predicted 0 ms";
    expect(findings(seen(figures, { spans, onlineAt: [30, 50] }), NO_FIGURES)).toEqual([
      `${text} (it began while the guest brought memory online)`,
    ]);
    expect(findings(seen(figures, { spans, onlineAt: [30] }), NO_FIGURES)).toEqual([text]);
  });

  test("never is told from late", () => {
    expect(findings(seen({ ...NO_FIGURES, accurateAfterMs: undefined }), NO_FIGURES)).toEqual([
      "accurate after: never, predicted 0 ms",
    ]);
  });
});
