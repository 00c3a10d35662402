import { describe, expect, test } from "vitest";
import { CELL_CLASSES, type MapRun } from "../../../src/report/page/model.ts";
import { packRun, worstStep } from "../../../src/report/page/pack.ts";
import { unpackRun } from "../../../src/report/page/shared.ts";
import { MAX_STEPS } from "../../../src/report/page/map-steps.ts";
import { simulationMap, type TracedRun } from "../../../src/report/page/simulation-map.ts";
import { kernelFor } from "../../../src/simulation/kernels.ts";
import { DEFAULT_COSTS, plainCosts } from "../../../src/simulation/world/costs.ts";
import { compareRuns } from "../../../src/simulation/world/outcome.ts";
import { POLICIES } from "../../../src/simulation/world/policy.ts";
import { runPolicy, type TimedChange } from "../../../src/simulation/world/run.ts";
import { type Scenario, scenarioOf } from "../../../src/simulation/world/scenario.ts";

const BLOCK = 128 * 2 ** 20;
const [MISSING, STALE] = [CELL_CLASSES.indexOf("missing"), CELL_CLASSES.indexOf("stale")];

function traced(scenario: Scenario): { readonly runs: readonly TracedRun[]; readonly window: number } {
  const traces = new Map<string, TimedChange[]>();
  const { outcomes, windowSeconds } = compareRuns(
    POLICIES.map((policy) => {
      const trace: TimedChange[] = [];
      traces.set(policy.name, trace);
      const kernel = kernelFor(policy.needsCrashHotplug);
      const costs = plainCosts(DEFAULT_COSTS);
      return runPolicy({ scenario, policy, costs, kernel, call: "kexec_file_load", trace });
    }),
  );
  return {
    window: windowSeconds * 1000,
    runs: outcomes.map(({ run, intervals }) => ({ run, intervals, trace: traces.get(run.policy.name)! })),
  };
}

/** DIMMs come, some go, others come in their place. */
const COME_AND_GO: Scenario = {
  name: "come-and-go",
  title: "come and go",
  bootBlocks: 16,
  cpus: 2,
  steps: [
    { step: "plug", blocks: 4, count: 5, pace: 200 },
    { step: "unplug", count: 3, pace: 300 },
    { step: "plug", blocks: 2, count: 3, pace: "settled" },
    { step: "add-cpus", count: 1, every: 100 },
    { step: "unplug", count: 1, pace: 100 },
  ],
};

describe.each([
  ["one DIMM", scenarioOf("dimm-1g")],
  ["DIMMs that come and go", COME_AND_GO],
])("the map of %s", (_, scenario) => {
  const { runs, window } = traced(scenario);
  const { section, leftOut } = simulationMap(scenario.bootBlocks, runs, window);

  test("has every policy, ours first", () => {
    expect(leftOut).toEqual([]);
    expect(section?.runs.map(({ name }) => name).toSorted()).toEqual(
      POLICIES.map(({ name }) => name).toSorted(),
    );
    expect(section?.runs[0]?.name).toBe("in-place");
  });

  test("lacks at each moment as many bytes as the simulation counts, and is of its condition", () => {
    for (const map of section!.runs) {
      const { intervals } = runs.find(({ run }) => run.policy.name === map.name)!;
      const steps = unpackRun(packRun(map));
      let step = 0;
      for (const { start, end, condition, missingBytes } of intervals) {
        const middle = (start + end) / 2;
        while (step + 1 < map.steps.length && map.steps[step + 1]!.at <= middle) step++;
        const missing = steps.cells(step).filter((cell) => cell === MISSING).length * BLOCK;
        // Where there would be no dump, the simulation counts nothing.
        const counted = condition === "blind" ? missingBytes : missing;
        expect([map.name, middle, map.steps[step]!.condition, counted]).toEqual([
          map.name,
          middle,
          condition,
          missingBytes,
        ]);
      }
      const { final } = runs.find(({ run }) => run.policy.name === map.name)!.run;
      expect([map.name, map.steps.at(-1)!.condition]).toEqual([map.name, final.condition]);
    }
  });
});

test("what is gone and still described is on the map", () => {
  const { runs, window } = traced(COME_AND_GO);
  const { section } = simulationMap(COME_AND_GO.bootBlocks, runs, window);
  const none = section!.runs.find(({ name }) => name === "kernel")!;
  const steps = unpackRun(packRun(none));
  const counts = none.steps.map((_, step) => steps.cells(step).filter((cell) => cell === STALE).length);
  expect(Math.max(...counts)).toBeGreaterThan(0);
});

test("a scenario without memory has no map", () => {
  const scenario = scenarioOf("cpus-8-to-16");
  const { runs, window } = traced(scenario);
  expect(simulationMap(scenario.bootBlocks, runs, window).section).toBeUndefined();
});

test("policies whose steps are too many are left out by name, and ours never is", () => {
  const { runs, window } = traced(COME_AND_GO);
  const flapping = runs.map((run) => {
    if (run.run.policy.name !== "rhel7") return run;
    const plug: TimedChange = { at: 0, change: { kind: "plug", dimm: 0, first: 0, blocks: 1 } };
    const toggles = Array.from({ length: MAX_STEPS }, (_, i): TimedChange => ({
      at: i,
      change: { kind: i % 2 === 0 ? "online" : "offline", dimm: 0, block: 0 },
    }));
    return { ...run, trace: [plug, ...toggles] };
  });
  const { section, leftOut } = simulationMap(COME_AND_GO.bootBlocks, flapping, window);
  expect(leftOut).toEqual(["rhel7"]);
  expect(section?.runs[0]?.name).toBe("in-place");
});

describe("a packed run", () => {
  const map: MapRun = {
    name: "x",
    initial: Uint8Array.of(4, 4, 0, 0),
    labels: ["boot", "block {} comes"],
    window: 1000,
    steps: [
      { at: 0, label: 0, number: 0, condition: "accurate", changes: [] },
      ...Array.from({ length: 400 }, (_, i) => ({
        at: i + 1.26,
        label: 1,
        number: i,
        condition: i % 3 === 0 ? ("stale" as const) : undefined,
        changes: [[2, 1 + (i % 2), 1 + (i % 6)]] as const,
      })),
    ],
  };

  test("shows any step as if all before it had been made, in whatever order it is asked for", () => {
    const forward = unpackRun(packRun(map));
    const all = Array.from({ length: forward.count }, (_, step) => [...forward.cells(step)]);
    const jumping = unpackRun(packRun(map));
    for (const step of [400, 0, 128, 127, 129, 5, 256, 399, 255, 1, 0, 400])
      expect([...jumping.cells(step)]).toEqual(all[step]);
    expect(all[1]).toEqual([4, 4, 1, 0]);
    expect(all[2]).toEqual([4, 4, 2, 2]);
  });

  test("keeps time to a tenth of a millisecond, without drift, and says what happened", () => {
    const steps = unpackRun(packRun(map));
    expect(steps.count).toBe(401);
    expect(steps.at(400)).toBeCloseTo(400.3, 6);
    expect(steps.text(400)).toBe("block 399 comes");
    expect([steps.condition(0), steps.condition(1), steps.condition(2)]).toEqual([0, 1, 3]);
  });

  test("is shown first where most is missing", () => {
    expect(worstStep(unpackRun(packRun(map)), map, 1)).toBe(6);
  });
});
