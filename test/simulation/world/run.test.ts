import { describe, expect, test } from "vitest";
import { KERNELS } from "../../../src/simulation/kernels.ts";
import { type Costs, DEFAULT_COSTS, plainCosts } from "../../../src/simulation/world/costs.ts";
import { policyOf } from "../../../src/simulation/world/policy.ts";
import { type PolicyRun, runPolicy } from "../../../src/simulation/world/run.ts";
import type { Scenario, ScenarioStep } from "../../../src/simulation/world/scenario.ts";
import { sumsOf } from "../../../src/simulation/world/timeline.ts";

/** Round costs, so that expected times can be worked out by hand. */
const COSTS: Costs = {
  ...plainCosts(DEFAULT_COSTS),
  plugDimm: 100,
  plugBlock: 0,
  onlineBlock: 1,
  offlineBlock: 1,
  udevLatency: 0,
  udevEvent: 0,
  program: 0,
  isActive: 2,
  systemdRun: 3,
  transientStart: 20,
  unload: 50,
  reloadWork: 150,
  load: 400,
  loadCall: 100,
  loadPerDimm: 0,
  handler: 2,
  rearm: 2,
  reaction: 5,
  workers: 16,
};

function run(policy: string, steps: readonly ScenarioStep[], costs: Partial<Costs> = {}): PolicyRun {
  const chosen = policyOf(policy);
  const scenario: Scenario = { name: "test", title: "test", bootBlocks: 16, cpus: 2, steps };
  const kernel = KERNELS.find(({ name }) => name === (chosen.needsCrashHotplug ? "6.12" : "6.1"))!;
  return runPolicy({
    scenario,
    policy: chosen,
    costs: { ...COSTS, ...costs },
    kernel,
    call: "kexec_file_load",
  });
}

/** `count` DIMMs of `blocks`, one after the other as the guest gets through with them. */
function plug(blocks: number, count: number): readonly ScenarioStep[] {
  return [{ step: "plug", blocks, count, pace: "settled" }];
}

describe("policies, worked out by hand", () => {
  test("none: stale from the first block on, for good", () => {
    const result = run("none", plug(4, 1));
    expect(result.accurate).toBeUndefined();
    expect(result.counts).toMatchObject({ loads: 0, rewrites: 0 });
    expect(
      result.intervals.map(({ start, condition, missingBytes }) => [start, condition, missingBytes]),
    ).toEqual([
      [0, "accurate", 0],
      [101, "stale", 1 << 27],
      [102, "stale", 2 * (1 << 27)],
      [103, "stale", 3 * (1 << 27)],
    ]);
  });

  test("rhel7: one reload for each block, one after the other, blind from unload's end to load's end", () => {
    const result = run("rhel7", plug(4, 1));
    expect(result.counts.loads).toBe(4);
    // Each: 50 unload (armed until its end), 150 work, 400 load.
    expect(sumsOf(result.intervals)).toMatchObject({ blindSeconds: 4 * 0.55, blindWindows: 4 });
    // The first block is online at 101; PID 1 serves is-active until 103, the second block's until 105, systemd-run
    // until 108; 20 later the first reload begins.
    expect(result.intervals.find(({ condition }) => condition === "blind")?.start).toBe(108 + 20 + 50);
    expect(result.quiet).toBe(108 + 20 + 4 * 600);
    expect(result.accurate).toBe(result.quiet);
  });

  test("rhel8: one reload for a burst, a second after its first event", () => {
    const result = run("rhel8", plug(4, 1));
    expect(result.counts.loads).toBe(1);
    expect(result.quiet).toBe(108 + 20 + 1000 + 600);
  });

  test("rhel8: while udev is busy the throttler waits for 3 s and no longer", () => {
    // 1,000 blocks, 5 ms each at PID 1: udev is busy for 5 s.
    const result = run("rhel8", plug(1000, 1), { workers: 2000 });
    expect(result.counts.loads).toBe(2);
    expect(result.intervals.find(({ condition }) => condition === "blind")?.start).toBeCloseTo(
      108 + 20 + 4000 + 50,
    );
  });

  test("debian: the worker waits for its reload, so udev is late by all of them", () => {
    const result = run("debian", plug(4, 1));
    expect(result.counts.loads).toBe(4);
    expect(result.processed).toBe(101 + 4 * 600);
  });

  test("debian: one load that fails turns kdump off for good", () => {
    // Loads that last longer than udev's limit: the worker is killed after the unload.
    const result = run("debian", plug(2, 1), { load: 300_000 });
    expect(result.killedWorkers).toBe(1);
    expect(result.counts.loads).toBe(0);
    expect(result.intervals.at(-1)?.condition).toBe("blind");
  });

  test("debian: workers that wait for the lock longer than 180 s are killed, and their reloads are lost", () => {
    const result = run("debian", plug(16, 1), { load: 20_000 });
    expect(result.killedWorkers).toBeGreaterThan(0);
    expect(result.counts.loads).toBeLessThan(16);
  });

  test("suse: one load for the first event, one for all that came meanwhile", () => {
    const result = run("suse", plug(4, 1));
    expect(result.counts.loads).toBe(2);
    expect(sumsOf(result.intervals).blindSeconds).toBeCloseTo(0.2);
  });

  test("suse: events that find the system call under way are dropped", () => {
    // The second DIMM's blocks are added while the load of the first holds the lock.
    const steps: readonly ScenarioStep[] = [{ step: "plug", blocks: 1, count: 2, pace: 450 }];
    const result = run("suse", steps);
    expect(result.counts.loads).toBe(1);
    expect(result.accurate).toBeUndefined();
  });

  test("kernel: one rewrite for each block, blind while its handler holds the lock, never stale", () => {
    const result = run("kernel", plug(4, 1));
    expect(result.counts).toMatchObject({ rewrites: 4, loads: 0, lostEvents: 0 });
    expect(sumsOf(result.intervals)).toMatchObject({ blindSeconds: 4 * 0.002, staleSeconds: 0 });
  });

  test("kernel: a removed DIMM stays described", () => {
    const result = run("kernel", [...plug(2, 1), { step: "unplug", count: 1, pace: 1000 }]);
    expect(result.accurate).toBeUndefined();
    expect(result.intervals.at(-1)).toMatchObject({ condition: "stale", missingBytes: 0 });
  });

  test("reload-over and re-arm: the first change at once, everything that came meanwhile together", () => {
    const over = run("reload-over", plug(4, 1));
    expect(over.counts.loads).toBe(2);
    expect(sumsOf(over.intervals)).toMatchObject({ blindSeconds: 0.2, longestBlindSeconds: 0.1 });
    const rearm = run("re-arm", plug(4, 1));
    expect(rearm.counts.rearms).toBe(2);
    expect(sumsOf(rearm.intervals).blindSeconds).toBeCloseTo(0.004);
  });

  test("in-place: neither blind nor stale, one install for each DIMM", () => {
    const result = run("in-place", plug(4, 3));
    expect(result.counts).toMatchObject({ rewrites: 3, loads: 0 });
    expect(result.accurate).toBe(0);
    expect(sumsOf(result.intervals)).toMatchObject({ blindSeconds: 0, staleSeconds: 0 });
  });

  test("in-place: what is gone is described for one reaction time", () => {
    const result = run("in-place", [...plug(1, 2), { step: "unplug", count: 1, pace: "settled" }]);
    expect(sumsOf(result.intervals).staleSeconds).toBeCloseTo(0.005);
    expect(result.accurate).toBeDefined();
  });

  test("CPUs: reload for each that is added; in place has their notes before they come", () => {
    const steps: readonly ScenarioStep[] = [{ step: "add-cpus", count: 3, every: 1000 }];
    expect(run("rhel7", steps).counts.loads).toBe(3);
    expect(run("debian", steps).counts.loads).toBe(6);
    expect(run("in-place", steps).accurate).toBe(0);
    expect(run("kernel", steps).accurate).toBe(0);
  });

  test("a CPU that flaps costs Debian a reload for each time it comes online, RHEL none", () => {
    const steps: readonly ScenarioStep[] = [{ step: "flap-cpu", times: 3, every: 2000 }];
    expect(run("debian", steps).counts.loads).toBe(3);
    expect(run("ubuntu2004", steps).counts.loads).toBe(3);
    expect(run("rhel7", steps).counts.loads).toBe(0);
  });

  test("boot: an add for everything that was there has RHEL reload for each CPU, openSUSE for memory", () => {
    expect(run("rhel7", [{ step: "coldplug" }]).counts.loads).toBe(2);
    expect(run("suse", [{ step: "coldplug" }]).counts.loads).toBe(2);
    expect(run("rhel8", [{ step: "coldplug" }]).counts.loads).toBe(1);
  });
});

test("the same run twice gives the same, to the last digit", () => {
  const steps = plug(8, 20);
  for (const name of ["rhel8", "debian", "suse", "kernel", "re-arm"])
    expect(run(name, steps)).toEqual(run(name, steps));
});
