/** Many random scenarios, to see that no policy is good or bad by chance of one of them. */
import { kernelFor } from "../kernels.ts";
import { seededRandom } from "../random.ts";
import type { Costs } from "./costs.ts";
import { type Comparison, compareRuns } from "./outcome.ts";
import type { Policy } from "./policy.ts";
import { runPolicy } from "./run.ts";
import { blocksOfGib, type Scenario, type ScenarioStep } from "./scenario.ts";

/** One random scenario: a guest that grows, waits, shrinks, gets CPUs. The same seed gives the same one. */
export function randomScenario(seed: number): Scenario {
  const random = seededRandom(seed);
  const whole = (most: number): number => 1 + Math.floor(random() * most);
  const steps: ScenarioStep[] = [];
  let dimms = 0;
  for (let i = whole(5); i > 0; i--) {
    const pace = random() < 0.5 ? "settled" : Math.floor(random() * 2000);
    const kind = random();
    if (kind < 0.55 || dimms === 0) {
      const count = whole(8);
      dimms += count;
      steps.push({ step: "plug", blocks: blocksOfGib(whole(8)), count, pace });
    } else if (kind < 0.75) {
      const count = whole(dimms);
      dimms -= count;
      steps.push({ step: "unplug", count, pace });
    } else if (kind < 0.85) steps.push({ step: "add-cpus", count: whole(8), every: 500 });
    else steps.push({ step: "wait", time: whole(30) * 1000 });
  }
  return {
    name: `random-${seed}`,
    title: `random scenario ${seed}`,
    bootBlocks: blocksOfGib(8),
    cpus: 4,
    steps,
  };
}

/** A policy over all scenarios of a sweep. */
export interface SweepRow {
  readonly policy: Policy;
  /** Medians and worst over the scenarios, seconds. */
  readonly blind: { readonly median: number; readonly worst: number };
  readonly stale: { readonly median: number; readonly worst: number };
  /** Reloads, re-arms and rewrites, over all scenarios. */
  readonly installs: number;
  /** Odds of a panic at a random moment of a random scenario: the mean of the scenarios' odds. */
  readonly noDump: number;
  readonly incomplete: number;
  /** Scenarios at whose end the header was not accurate. */
  readonly neverAccurate: number;
}

/** Runs `count` scenarios from `seed` on under each policy. `check` is called between two, and may throw. */
export function sweep(options: {
  readonly policies: readonly Policy[];
  readonly costs: Costs;
  readonly count: number;
  readonly seed: number;
  readonly check: () => void;
}): readonly SweepRow[] {
  const { policies, costs, count, seed, check } = options;
  const comparisons: Comparison[] = [];
  for (let i = 0; i < count; i++) {
    check();
    const scenario = randomScenario(seed + i);
    const { windowSeconds, outcomes } = compareRuns(
      policies.map((policy) =>
        runPolicy({
          scenario,
          policy,
          costs,
          kernel: kernelFor(policy.needsCrashHotplug),
          call: "kexec_file_load",
        }),
      ),
    );
    // Thousands of intervals of each run are not needed any more.
    comparisons.push({ windowSeconds, outcomes: outcomes.map((outcome) => ({ ...outcome, intervals: [] })) });
  }
  return policies.map((policy, i) => rowOf(policy, comparisons, i));
}

function rowOf(policy: Policy, comparisons: readonly Comparison[], i: number): SweepRow {
  const outcomes = comparisons.map(({ outcomes: all }) => all[i]!);
  return {
    policy,
    blind: medianAndWorst(outcomes.map(({ blindSeconds }) => blindSeconds)),
    stale: medianAndWorst(outcomes.map(({ staleSeconds }) => staleSeconds)),
    installs: outcomes.reduce(
      (sum, { run: { counts } }) => sum + counts.loads + counts.rearms + counts.rewrites,
      0,
    ),
    noDump: mean(outcomes.map(({ odds }) => odds.noDump)),
    incomplete: mean(outcomes.map(({ odds }) => odds.incomplete)),
    neverAccurate: outcomes.filter(({ accurateSeconds }) => accurateSeconds === undefined).length,
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}

function medianAndWorst(values: readonly number[]): { readonly median: number; readonly worst: number } {
  const sorted = values.toSorted((a, b) => a - b);
  return { median: sorted[Math.floor(sorted.length / 2)] ?? 0, worst: sorted.at(-1) ?? 0 };
}
