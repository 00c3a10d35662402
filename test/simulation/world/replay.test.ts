/** The counts of virtual time against bytes: at every moment a real panic of a simulated machine says the same. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { KERNELS } from "../../../src/simulation/kernels.ts";
import { DEFAULT_COSTS, plainCosts } from "../../../src/simulation/world/costs.ts";
import { POLICIES } from "../../../src/simulation/world/policy.ts";
import { runPolicy, type TimedChange } from "../../../src/simulation/world/run.ts";
import type { Scenario, ScenarioStep } from "../../../src/simulation/world/scenario.ts";
import type { Condition } from "../../../src/simulation/world/state.ts";
import { replayOf } from "../../../src/targets/simulated/panics.ts";
import type { Interval } from "../../../src/simulation/world/timeline.ts";

const steps: fc.Arbitrary<readonly ScenarioStep[]> = fc.array(
  fc.oneof(
    fc.record({
      step: fc.constant("plug" as const),
      blocks: fc.integer({ min: 1, max: 3 }),
      count: fc.integer({ min: 1, max: 3 }),
      pace: fc.constantFrom("settled" as const, 0, 40, 700),
    }),
    fc.record({
      step: fc.constant("unplug" as const),
      count: fc.integer({ min: 1, max: 2 }),
      pace: fc.constantFrom("settled" as const, 0, 300),
    }),
    fc.record({
      step: fc.constant("add-cpus" as const),
      count: fc.integer({ min: 1, max: 2 }),
      every: fc.constant(90),
    }),
    fc.record({ step: fc.constant("wait" as const), time: fc.integer({ min: 1, max: 3000 }) }),
  ),
  { minLength: 1, maxLength: 4 },
);

describe.each(POLICIES.map((policy) => [policy.name, policy] as const))("%s", (_name, policy) => {
  const kernels = KERNELS.filter(
    ({ crashElfcorehdrSize }) => !policy.needsCrashHotplug || crashElfcorehdrSize !== undefined,
  );

  test("a panic of the machine of bytes gives at each moment what the timeline says", async () => {
    await fc.assert(
      fc.asyncProperty(
        steps,
        fc.constantFrom(...kernels),
        fc.constantFrom("kexec_file_load" as const, "kexec_load" as const),
        async (list, kernel, anyCall) => {
          // The kernel's own handler serves what kexec_file_load loaded.
          const call = policy.needsCrashHotplug ? "kexec_file_load" : anyCall;
          const scenario: Scenario = { name: "t", title: "t", bootBlocks: 16, cpus: 2, steps: list };
          const trace: TimedChange[] = [];
          const costs = plainCosts(DEFAULT_COSTS);
          const { intervals } = runPolicy({ scenario, policy, costs, kernel, call, trace });
          const replay = replayOf({ scenario, kernel, call });
          const said: string[] = [];
          const seen: string[] = [];
          for (const [i, { at, change }] of trace.entries()) {
            await replay.apply(change);
            // At an instant in which several things happen, what counts is what it is like after them.
            if ((trace[i + 1]?.at ?? at) === at) continue;
            said.push(`${at} ms: ${conditionAt(intervals, at)}`);
            seen.push(`${at} ms: ${replay.condition}`);
          }
          expect(seen).toEqual(said);
        },
      ),
      { numRuns: 12 },
    );
  }, 60_000);
});

/** What it was like at one moment. */
function conditionAt(intervals: readonly Interval[], time: number): Condition {
  return (
    intervals.find(({ start, end }) => start <= time && time < end)?.condition ?? intervals.at(-1)!.condition
  );
}
