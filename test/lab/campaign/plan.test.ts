import { createHash } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type PlanOptions, planTrial, shardTrials, type Step } from "../../../src/lab/campaign/plan.ts";

const OPTIONS: PlanOptions = { seed: 1, freshEvery: 20, pagesEvery: 4 };
const indexes = Array.from({ length: 2000 }, (_, index) => index);

describe("a trial's plan", () => {
  test("is the same for the same seed and number, and another one otherwise", () => {
    expect(planTrial(5, OPTIONS)).toEqual(planTrial(5, OPTIONS));
    expect(planTrial(5, { ...OPTIONS, seed: 2 }).steps).not.toEqual(planTrial(5, OPTIONS).steps);
    expect(new Set(indexes.map((index) => planTrial(index, OPTIONS).seed)).size).toBe(indexes.length);
  });

  test("plugs what Linux can use, in order, and removes only what is plugged by then", () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat({ max: 999_999 }), (seed, index) => {
        const { steps, panic } = planTrial(index, { ...OPTIONS, seed });
        const times = steps.map(({ atMs }) => atMs);
        expect(times).toEqual(times.toSorted((a, b) => a - b));
        const plugs = steps.flatMap((step) => (step.kind === "plug" ? [step] : []));
        const removals = steps.flatMap((step) => (step.kind === "unplug" ? [step] : []));
        expect(plugs.length).toBeGreaterThan(0);
        expect(plugs.every(({ sizeMiB }) => sizeMiB % 128 === 0)).toBe(true);
        expect(removals.every(({ dimm, atMs }) => plugs[dimm]!.atMs < atMs)).toBe(true);
        expect(panic.atMs).toBeGreaterThanOrEqual(0);
        expect(panic.atMs).toBeLessThan(20_000);
      }),
    );
  });

  test.each([
    ["before", (at: number, [first]: readonly number[]) => at < first!],
    ["during", (at: number, [first]: readonly number[]) => at >= first!],
    ["after", (at: number, steps: readonly number[]) => at > steps.at(-1)!],
    ["reaction", (at: number, steps: readonly number[]) => steps.some((s) => s <= at && at <= s + 80)],
  ] as const)("panics %s the changes where it says so", (moment, holds) => {
    const plans = indexes
      .map((index) => planTrial(index, OPTIONS))
      .filter(({ panic }) => panic.moment === moment);
    expect(plans.length).toBeGreaterThan(100);
    for (const { steps, panic } of plans)
      expect(
        holds(
          panic.atMs,
          steps.map(({ atMs }) => atMs),
        ),
      ).toBe(true);
  });

  test("has every moment, removals, and fresh boots, in about the shares that it should", () => {
    const plans = indexes.map((index) => planTrial(index, OPTIONS));
    const share = (is: (plan: (typeof plans)[number]) => boolean): number =>
      plans.filter(is).length / plans.length;
    expect(share(({ panic }) => panic.moment === "before")).toBeCloseTo(0.08, 1);
    expect(share(({ panic }) => panic.moment === "reaction")).toBeCloseTo(0.25, 1);
    expect(share(({ panic }) => panic.moment === "during")).toBeCloseTo(0.42, 1);
    expect(share(({ panic }) => panic.moment === "after")).toBeCloseTo(0.25, 1);
    expect(share(({ steps }) => steps.some(({ kind }) => kind === "unplug"))).toBeCloseTo(0.35, 1);
    expect(share(({ fresh }) => fresh)).toBeCloseTo(1 / 20, 1);
    expect(share(({ fresh }) => fresh)).toBeGreaterThan(0);
    expect(share(({ pages }) => pages)).toBeCloseTo(1 / 4, 1);
    const none = plans.map(({ index }) => planTrial(index, { ...OPTIONS, freshEvery: 0, pagesEvery: 1 }));
    expect(none.some(({ fresh }) => fresh)).toBe(false);
    expect(none.every(({ pages }) => pages)).toBe(true);
  });
});

function isCpu({ kind }: Step): boolean {
  return kind === "plug-cpu" || kind === "unplug-cpu";
}

describe("with CPUs", () => {
  test("a plan has the same DIMMs, panic and comparison as without", () => {
    for (const index of indexes) {
      const { steps, ...rest } = planTrial(index, OPTIONS);
      const { steps: more, ...same } = planTrial(index, { ...OPTIONS, cpus: true });
      expect(same).toEqual(rest);
      expect(more.filter((step) => !isCpu(step))).toEqual(steps);
      expect(steps.some(isCpu)).toBe(false);
    }
  });

  test("one trial of five adds one, and some of those remove it later", () => {
    const plans = indexes.map((index) => planTrial(index, { ...OPTIONS, cpus: true }).steps);
    const those = plans.map((steps) => steps.filter(isCpu)).filter((steps) => steps.length > 0);
    expect(those.length / plans.length).toBeCloseTo(0.2, 1);
    expect(those.every(([first]) => first!.kind === "plug-cpu" && first!.atMs >= 150)).toBe(true);
    const removals = those.filter(([, second]) => second?.kind === "unplug-cpu");
    expect(removals.length / those.length).toBeCloseTo(0.35, 1);
    expect(removals.every(([first, second]) => first!.atMs + 300 <= second!.atMs)).toBe(true);
    for (const steps of plans)
      expect(steps.map(({ atMs }) => atMs)).toEqual(steps.map(({ atMs }) => atMs).toSorted((a, b) => a - b));
  });
});

test("without CPUs plans are those of the first campaigns, whose results go on", () => {
  const hash = createHash("sha256");
  for (const index of indexes) hash.update(JSON.stringify(planTrial(index, OPTIONS)));
  expect(hash.digest("hex")).toBe("445289d390f98a08085ecf005e88a7207234dbd9d415c36975ed64f9b8e69516");
});

test("every shard has a share of the fresh boots and of the compared pages", () => {
  for (let number = 1; number <= 4; number++) {
    const plans = shardTrials(400, { number, count: 4 }).map((index) => planTrial(index, OPTIONS));
    expect(plans.some(({ fresh }) => fresh)).toBe(true);
    expect(plans.some(({ pages }) => pages)).toBe(true);
  }
});

test("shards are disjoint and together all trials, about equally many each", () => {
  fc.assert(
    fc.property(fc.nat({ max: 500 }), fc.integer({ min: 1, max: 40 }), (trials, count) => {
      const parts = Array.from({ length: count }, (_, i) => shardTrials(trials, { number: i + 1, count }));
      expect(parts.flat().toSorted((a, b) => a - b)).toEqual(indexes.slice(0, trials));
      const sizes = parts.map(({ length }) => length);
      expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
    }),
  );
});
