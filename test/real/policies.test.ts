/** The older ways of keeping kdump accurate, and ours, in real guests with a real udevd: the smallest case of each. */
import { afterAll, describe, expect, test } from "vitest";
import { MeasurementError } from "../../src/lab/errors.ts";
import { KERNEL_SUITES, type KernelSeries } from "../../src/lab/fetch/kernel.ts";
import type { LabPolicyName } from "../../src/lab/policies/policy.ts";
import { type PolicyRunResult, runPolicy } from "../../src/lab/policy-run.ts";
import { policyRunsMap } from "../../src/report/page/policy-run-map.ts";
import { missingOnMap } from "../report/page/missing-on-map.ts";
import { type Lab, openLab } from "./lab.ts";

const BLOCKS = 8;
const UDEV = {
  "6.1": { suite: "bookworm", version: "252" },
  "6.12": { suite: "trixie", version: "257" },
} as const;
const SERIES = ["6.1", "6.12"] as const;

const labs = new Map<KernelSeries, Lab>();
for (const series of SERIES) {
  const lab = await openLab(`policies on Linux ${series}`, series, { udev: KERNEL_SUITES[series] });
  if (lab) labs.set(series, lab);
}
afterAll(async () => {
  for (const lab of labs.values()) await lab.close();
});

/** Two DIMMs of 512 MiB. */
async function run(series: (typeof SERIES)[number], policy: LabPolicyName): Promise<PolicyRunResult> {
  const wanted = {
    policy,
    load: "kexec_file_load",
    ramMiB: 1024,
    crashkernelMiB: 256,
    dimmsMiB: [512, 512],
  } as const;
  const result = await runPolicy(labs.get(series)!.parts, wanted, UDEV[series], { log: console.error });
  expect(result).toMatchObject({ blocks: BLOCKS, blockBytes: 2 ** 27, failures: [], skipped: 0 });
  // An add and an online for each block.
  expect(result.events).toBe(2 * BLOCKS);
  expect(result.verdict).toBe(result.promised);
  expect(result.costs.hotAddMs).toBeGreaterThan(0);
  expect(result.costs.udevEventMs).toBeGreaterThan(0);
  expect(result.resolution.medianGapMs).toBeLessThan(2);
  expectMapAsMeasured(result);
  return result;
}

/** The page's map ends with all blocks online, and lacks at each step what the run's timeline, judged apart, says. */
function expectMapAsMeasured(result: PolicyRunResult): void {
  const { section, leftOut } = policyRunsMap([result], () => [], result.runMs);
  expect(leftOut).toEqual([]);
  expect(section.regions.reduce((sum, { cells }) => sum + cells, 0)).toBe(BLOCKS);
  const missing = missingOnMap(section, 0);
  expect(missing.length).toBeGreaterThan(2);
  expect(missing).toEqual(
    missing.map(({ at }) => ({
      at,
      bytes: result.spans.findLast(({ start }) => start <= at)!.missingBytes,
    })),
  );
}

/** A reload's parts, and that each reload has a window, as long as its system call at least. */
function expectReloads({ figures, costs }: PolicyRunResult): void {
  const { unloadMs = 0, workMs = 0, loadMs = 0, reloadMs = 0 } = costs;
  expect(loadMs).toBeGreaterThan(10);
  expect(unloadMs + workMs + loadMs).toBeCloseTo(reloadMs, 5);
  // The 30 ms between two reloads are not seen where the machine has no time to look for that long.
  expect(figures.blindWindows).toBeLessThanOrEqual(figures.reloads);
  expect(figures.blindWindows).toBeGreaterThanOrEqual(figures.reloads / 2);
  expect(figures.blindMs).toBeGreaterThan(figures.reloads * loadMs * 0.5);
  expect(figures.longestBlindMs).toBeGreaterThanOrEqual(figures.blindMs / figures.reloads);
  expect(figures.staleMs).toBeGreaterThan(0);
  expect(figures.accurateAfterMs).toBeGreaterThan(figures.blindMs);
}

describe.skipIf(!labs.has("6.1"))("Linux 6.1", () => {
  test("none: never blind, stale for good", async () => {
    const { figures, verdict } = await run("6.1", "none");
    expect(verdict).toBe("inaccurate");
    expect(figures).toMatchObject({ reloads: 0, blindMs: 0, blindWindows: 0, accurateAfterMs: undefined });
    expect(figures.staleMs).toBeGreaterThan(0);
    expect(figures.missingByteSeconds).toBeGreaterThan(0);
  });

  test.each(["rhel7", "debian"] as const)("%s: a reload for each block", async (policy) => {
    const result = await run("6.1", policy);
    expect(result.figures.reloads).toBe(BLOCKS);
    expect(result.throttled).toBe(0);
    expectReloads(result);
  });

  test("rhel8: the throttler makes fewer of them", async () => {
    const result = await run("6.1", "rhel8");
    expect(result.figures.reloads).toBeGreaterThanOrEqual(1);
    // Two; more where the ACPI driver was so slow with the second DIMM that the first one's was over.
    expect(result.figures.reloads).toBeLessThan(BLOCKS / 2);
    expect(result.figures.reloads + result.throttled).toBe(BLOCKS);
    expectReloads(result);
    // It sleeps for a second before the first reload.
    expect(result.figures.longestStaleMs).toBeGreaterThan(900);
  });

  test("reload-over: nothing is unloaded, so only the system call is blind", async () => {
    const result = await run("6.1", "reload-over");
    expect(result.figures.reloads).toBeGreaterThanOrEqual(1);
    expect(result.figures.reloads).toBeLessThan(BLOCKS);
    expect(result.figures.reloads + result.throttled).toBe(BLOCKS);
    expectReloads(result);
    expect(result.costs.unloadMs).toBe(0);
    // On the average: one that shares the processors with the onlining takes longer than another.
    expect(result.figures.blindMs / result.figures.reloads).toBeLessThan(result.costs.reloadMs!);
  });

  test("in-place: never blind, and accurate one reaction after the last DIMM", async () => {
    const result = await run("6.1", "in-place");
    expect(result.figures).toMatchObject({ reloads: 0, blindMs: 0, blindWindows: 0 });
    expect(result.installs.length).toBeGreaterThanOrEqual(1);
    // Who reads while it is written sees half of it as one more.
    expect(result.headerChanges).toBeGreaterThanOrEqual(1);
    expect(result.headerChanges).toBeLessThanOrEqual(2 * result.installs.length);
    expect(result.costs.reactionMs).toBeGreaterThan(0);
    expect(result.figures.accurateAfterMs).toBeLessThan(5_000);
  });

  test("kernel: cannot be run on a kernel that does not do it", async () => {
    await expect(run("6.1", "kernel")).rejects.toThrow(MeasurementError);
  });
});

describe.skipIf(!labs.has("6.12"))("Linux 6.12", () => {
  test("kernel: a short blind window for each block, and no reload", async () => {
    const { figures, costs, kernelUpdates, headerChanges } = await run("6.12", "kernel");
    expect(kernelUpdates).toBe(true);
    expect(figures.reloads).toBe(0);
    // It rewrites once for each block, but the poller may miss what is shorter than its own gaps.
    expect(figures.blindWindows).toBeGreaterThan(0);
    expect(figures.blindWindows).toBeLessThanOrEqual(BLOCKS + 1);
    expect(figures.blindMs).toBeGreaterThan(0);
    expect(costs.kernelUpdateMs).toBeLessThan(1000);
    // One for each DIMM; where the second comes at once, nobody may have seen the one between.
    expect(headerChanges).toBeGreaterThanOrEqual(1);
    expect(headerChanges).toBeLessThanOrEqual(2);
    expect(figures.accurateAfterMs).toBeLessThan(10_000);
  });
});
