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

  test("come with those that start from the same saved guest in a row; who needs no udev shares one", () => {
    const tasks = tasksOf(OPTIONS);
    const starts = tasks.map(({ start }) => start);
    const changes = starts.filter((start, i) => start !== starts[i - 1]);
    expect(changes).toHaveLength(new Set(starts).size);
    expect(changes).toHaveLength(6);
    const [first] = tasks;
    expect(tasks.filter(({ start }) => start === first!.start).map(({ way }) => way)).toEqual(
      expect.arrayContaining(["in-place", "plug"]),
    );
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
