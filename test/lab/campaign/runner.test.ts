import { describe, expect, test } from "vitest";
import { shardTrials } from "../../../src/lab/campaign/plan.ts";
import { type TaskOptions, tasksOf, trialId, type Variant } from "../../../src/lab/campaign/runner.ts";

const VARIANTS: readonly Variant[] = (["in-place", "reload", "plug"] as const).map((way) => ({
  kernel: "6.1",
  load: "kexec_file_load",
  way,
}));
const OPTIONS: TaskOptions = {
  seed: 1,
  freshEvery: 0,
  pagesEvery: 4,
  variants: VARIANTS,
  indexes: shardTrials(50, { number: 1, count: 1 }),
  perLayout: 20,
  done: new Set(),
};

describe("a campaign's tasks", () => {
  test("are every trial of every variant, with the same plans for all of them", () => {
    const tasks = tasksOf(OPTIONS);
    expect(tasks).toHaveLength(150);
    expect(new Set(tasks.map((task) => trialId(task, task.plan.index))).size).toBe(150);
    const plans = (way: string): readonly unknown[] =>
      tasks.filter((task) => task.way === way).map(({ plan }) => plan);
    expect(plans("in-place")).toEqual(plans("plug"));
    expect(plans("in-place")).toEqual(plans("reload"));
  });

  test("leave out what is done: what a stopped run has left is the rest", () => {
    const all = tasksOf(OPTIONS);
    const done = new Set(all.slice(0, 70).map((task) => trialId(task, task.plan.index)));
    const left = tasksOf({ ...OPTIONS, done });
    expect(left).toHaveLength(80);
    expect(left.some((task) => done.has(trialId(task, task.plan.index)))).toBe(false);
  });

  test("take turns among ways, and no saved guest is needed again after the next layout has begun", () => {
    const tasks = tasksOf({ ...OPTIONS, variants: [...VARIANTS, { ...VARIANTS[0]!, kernel: "5.10" }] });
    expect(tasks.slice(0, 6).map(({ way, plan }) => `${way} ${plan.index}`)).toEqual([
      "in-place 0",
      "reload 0",
      "plug 0",
      "in-place 1",
      "reload 1",
      "plug 1",
    ]);
    const together = tasks.map(({ kernel, load, start }) => `${kernel} ${load} ${start.split(" ").at(-1)}`);
    const changes = together.filter((group, i) => group !== together[i - 1]);
    expect(changes).toHaveLength(new Set(together).size);
    expect(changes).toHaveLength(6);
  });

  test("start from the same guest where they need no udev, from their own where they do", () => {
    const tasks = tasksOf(OPTIONS);
    const starts = (way: string): ReadonlySet<string> =>
      new Set(tasks.filter((task) => task.way === way).map(({ start }) => start));
    expect(starts("in-place")).toEqual(starts("plug"));
    expect([...starts("reload")].some((start) => starts("plug").has(start))).toBe(false);
    expect(starts("plug").size).toBe(3);
  });

  test("of shards are together those of the whole", () => {
    const parts = [1, 2, 3, 4].flatMap((number) =>
      tasksOf({ ...OPTIONS, indexes: shardTrials(50, { number, count: 4 }) }),
    );
    const ids = (tasks: typeof parts): readonly string[] =>
      tasks.map((task) => trialId(task, task.plan.index)).toSorted();
    expect(ids(parts)).toEqual(ids([...tasksOf(OPTIONS)]));
  });
});
