import { describe, expect, test } from "vitest";
import { fellIntoGap, percentile, reactionsOf } from "../../../src/lab/campaign/gap.ts";
import { trial } from "./samples.ts";

const PLUG = { what: "plug kdh-mem0", at: 100, done: 110 };

function installed(...times: readonly number[]): ReturnType<typeof trial>["installs"] {
  return times.map((at) => ({ at, pauseMicroseconds: 800, bytesWritten: 488, reactionMs: at - 100 }));
}

describe("the gap of who watches", () => {
  test.each([
    ["before the plug", 90, [], false],
    ["after it, with no header yet", 130, [], true],
    ["after it, before the header", 130, [140], true],
    ["after the header", 150, [140], false],
  ])("a panic %s", (_when, panickedMs, installs, inGap) => {
    expect(fellIntoGap(trial(0, { steps: [PLUG], panickedMs, installs: installed(...installs) }))).toBe(
      inGap,
    );
  });

  test("is there again after each plug", () => {
    const steps = [PLUG, { what: "plug kdh-mem1", at: 200, done: 210 }];
    expect(fellIntoGap(trial(0, { steps, panickedMs: 220, installs: installed(140) }))).toBe(true);
    expect(fellIntoGap(trial(0, { steps, panickedMs: 220, installs: installed(140, 215) }))).toBe(false);
  });

  test("has no end where a removal is meant", () => {
    const steps = [{ what: "unplug kdh-mem0", at: 100, done: 101 }];
    expect(fellIntoGap(trial(0, { steps, panickedMs: 220 }))).toBe(false);
  });
});

test("reactions are of all trials, ascending, and percentiles are of the nearest rank", () => {
  const reactions = reactionsOf([
    trial(0, { installs: installed(130, 110) }),
    trial(1, { installs: installed(120) }),
  ]);
  expect(reactions).toEqual([10, 20, 30]);
  expect([0, 0.5, 0.99, 1].map((share) => percentile(reactions, share))).toEqual([10, 20, 30, 30]);
  expect(percentile([], 0.5)).toBeUndefined();
});
