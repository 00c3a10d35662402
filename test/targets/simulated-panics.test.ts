import { describe, expect, test } from "vitest";
import { DEFAULT_COSTS, plainCosts } from "../../src/simulation/world/costs.ts";
import { compareRuns } from "../../src/simulation/world/outcome.ts";
import { POLICIES } from "../../src/simulation/world/policy.ts";
import { kernelFor } from "../../src/simulation/kernels.ts";
import { runPolicy } from "../../src/simulation/world/run.ts";
import type { Scenario } from "../../src/simulation/world/scenario.ts";
import { panicAtRandom } from "../../src/targets/simulated/panics.ts";

const scenario: Scenario = {
  name: "grow",
  title: "four DIMMs, a pause, one goes",
  bootBlocks: 16,
  cpus: 2,
  steps: [
    { step: "plug", blocks: 4, count: 4, pace: 300 },
    { step: "wait", time: 2000 },
    { step: "unplug", count: 1, pace: 1000 },
  ],
};
const costs = plainCosts(DEFAULT_COSTS);
const PANICS = 400;
/** A sample this far out comes up once in 15,000 tests; with a fixed seed it comes up always or never. */
const SIGMAS = 4;

function check(): void {
  // Nobody interrupts a test.
}

describe.each(POLICIES.map((policy) => [policy.name, policy] as const))("%s", (_name, policy) => {
  test("sampled panics of the machine of bytes agree with the odds that were integrated", async () => {
    const options = {
      scenario,
      policy,
      costs,
      kernel: kernelFor(policy.needsCrashHotplug),
      call: "kexec_file_load",
    } as const;
    const run = runPolicy(options);
    const [outcome] = compareRuns([run]).outcomes;
    const counts = await panicAtRandom({ ...options, count: PANICS, seed: 1, window: run.quiet, check });
    const { noDump, incomplete, complete } = outcome!.odds;
    for (const [odds, seen] of [
      [noDump, counts.blind],
      [incomplete, counts.stale],
      [complete, counts.accurate],
    ] as const) {
      // Where the odds are 0 or 1 there is no deviation at all.
      const sigma = Math.sqrt(PANICS * odds * (1 - odds));
      expect(Math.abs(seen - PANICS * odds)).toBeLessThanOrEqual(SIGMAS * sigma + 1e-6);
    }
  });
});
