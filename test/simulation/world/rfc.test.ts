import { describe, expect, test } from "vitest";
import { DEFAULT_COSTS, plainCosts } from "../../../src/simulation/world/costs.ts";
import { policyOf } from "../../../src/simulation/world/policy.ts";
import { calibrate, RFC_TABLE } from "../../../src/simulation/world/rfc.ts";
import { compareWithRfc } from "../../../src/simulation/world/rfc-comparison.ts";
import { kernelFor } from "../../../src/simulation/kernels.ts";
import { runPolicy } from "../../../src/simulation/world/run.ts";
import { scenarioOf } from "../../../src/simulation/world/scenario.ts";
import { randomScenario, sweep } from "../../../src/simulation/world/sweep.ts";

const comparison = compareWithRfc();

describe("the RFC's table", () => {
  test("each cell comes out within half a per cent, also with RHEL 7's row read as a backlog", () => {
    const cells = [...comparison.cells, ...comparison.backlog.cells];
    expect(cells.map(({ rfc }) => rfc)).toEqual([181, 389, 86, 419, 181, 389]);
    for (const { off, holds } of cells) {
      expect(Math.abs(off)).toBeLessThan(0.005);
      expect(holds).toBe(true);
    }
  });

  test("RHEL 8 reloads 22 times with one DIMM and 320 times with 480: the RFC infers 21 and 105", () => {
    const reloads = comparison.predictions.filter(({ unit }) => unit === "reloads");
    expect(reloads.map(({ here, published }) => [here, published])).toEqual([
      [22, 21],
      [320, 105],
    ]);
  });

  test.each([5, 20, 50])(
    "the counts do not depend on %d ms between systemd-run and the throttler",
    (transientStart) => {
      const policy = policyOf("rhel8");
      const { costs } = calibrate(RFC_TABLE.find((row) => row.policy === "rhel8")!);
      const run = runPolicy({
        scenario: scenarioOf("rfc-480x1"),
        policy,
        costs: { ...costs, transientStart },
        kernel: kernelFor(false),
        call: "kexec_file_load",
      });
      expect(run.counts.loads).toBe(320);
    },
  );

  test("what does not fit what was published is among the predictions, not hidden", () => {
    const scaling = comparison.predictions.find(({ published }) => published === 144);
    expect(scaling?.here).toBeCloseTo(208.4, 1);
    expect(scaling?.note).toContain("does not fit");
  });

  test("our way is the only one that is neither blind nor stale in both", () => {
    for (const { comparison: one } of comparison.scenarios) {
      const good = one.outcomes.filter(({ odds }) => odds.complete === 1);
      expect(good.map(({ run }) => run.policy.name)).toEqual(["in-place"]);
    }
  });
});

function stop(): never {
  throw new Error("stopped");
}

describe("a sweep", () => {
  test("the same seed gives the same scenarios, another one others", () => {
    expect(randomScenario(7)).toEqual(randomScenario(7));
    expect(randomScenario(7)).not.toEqual(randomScenario(8));
  });

  test("runs each scenario under each policy, and stops where it is told to", () => {
    const policies = [policyOf("none"), policyOf("in-place")];
    const options = { policies, costs: plainCosts(DEFAULT_COSTS), count: 20, seed: 1 };
    let checks = 0;
    const rows = sweep({ ...options, check: () => void checks++ });
    expect(checks).toBe(20);
    expect(rows.map(({ policy }) => policy.name)).toEqual(["none", "in-place"]);
    expect(rows[0]!.incomplete).toBeGreaterThan(0.5);
    expect(rows[1]!.noDump).toBe(0);
    expect(() => sweep({ ...options, check: stop })).toThrow("stopped");
  });
});
