import { describe, expect, test } from "vitest";
import {
  changeOf,
  MATRIX_CHANGES,
  type MatrixOptions,
  matrixTasks,
} from "../../../src/lab/campaign/matrix.ts";
import { trialId } from "../../../src/lab/campaign/runner.ts";

const OPTIONS: MatrixOptions = {
  variants: (["nothing", "reload", "in-place"] as const).map((way) => ({
    kernel: "6.1",
    load: "kexec_load",
    way,
  })),
  changes: MATRIX_CHANGES.map(({ name }) => name),
  repeat: 2,
  seed: 1,
};

describe("a matrix's tasks", () => {
  test("are each variant with each change, as often as is asked for", () => {
    const tasks = matrixTasks(OPTIONS);
    expect(tasks).toHaveLength(3 * MATRIX_CHANGES.length * 2);
    expect(new Set(tasks.map((task) => trialId(task, task.plan.index))).size).toBe(tasks.length);
    for (const { plan } of tasks) expect(plan.steps).toEqual(changeOf(plan.index).steps);
  });

  test("keep the numbers that they had before there was one with a CPU", () => {
    const names = MATRIX_CHANGES.map(({ name }) => name);
    expect([0, 1, 2, 3, 4, 7].map((index) => changeOf(index).name)).toEqual([
      ...names.slice(0, 4),
      names[0],
      names[3],
    ]);
    expect(changeOf(1_000_001).name).toBe("one-cpu");
    expect(changeOf(9_000_001).name).toBe(names[1]);
  });

  test("panic at rest, or within the time that the change says, each time at another moment", () => {
    const tasks = matrixTasks({ ...OPTIONS, changes: ["coming-online"], repeat: 20 });
    const times = tasks.filter(({ way }) => way === "nothing").map(({ plan }) => plan.panic.atMs);
    expect(Math.min(...times)).toBeGreaterThanOrEqual(150);
    expect(Math.max(...times)).toBeLessThanOrEqual(1150);
    expect(new Set(times).size).toBeGreaterThan(10);
    const settled = matrixTasks({ ...OPTIONS, changes: ["removed"] });
    expect(settled.every(({ plan }) => plan.panic.settled)).toBe(true);
  });

  test("that need the same guest come in a row", () => {
    const starts = matrixTasks(OPTIONS).map(({ start }) => start);
    expect(starts.filter((start, i) => start !== starts[i - 1])).toHaveLength(2);
  });
});
