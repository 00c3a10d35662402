/**
 * Every `lab` command line that a document shows, as it stands there: `lab fetch` to its end, the others until they are
 * at work on a guest that boots, and some steps further; then Ctrl-C, after which only what was promised is left. (That such runs do what
 * they should to their end is for the tests of their kind: chain, campaign, policies.)
 */
import { readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { readResults } from "../../src/lab/campaign/results.ts";
import { KERNEL_SERIES, KERNEL_SUITES } from "../../src/lab/fetch/kernel.ts";
import { linesForTest } from "../docs/in-guests.ts";
import { findSupplies } from "./lab.ts";
import { interrupted, LabRuns, NOTHING, until } from "./lab-runs.ts";

const supplies = await Promise.all(
  KERNEL_SERIES.map(async (series) =>
    findSupplies(`documented lab commands on Linux ${series}`, series, {
      udev: KERNEL_SUITES[series],
      node: true,
    }),
  ),
);
const hasAll = supplies.every((each) => each !== undefined);

/** The guests of several runs boot side by side here. */
const LIMIT_MS = 240_000;
/** Each run is interrupted so much later after its guest began to boot than the one before: at another step of it. */
const LATER_MS = 250;

const lines = await linesForTest(import.meta.filename);
const short = lines.filter(([, name]) => name === "fetch");
const long = lines
  .filter((line) => !short.includes(line))
  .map((line, i) => [line.join(" "), line, i] as const);

test("the documents show them", () => {
  expect(short.length).toBeGreaterThan(0);
  expect(long.length).toBeGreaterThan(8);
});

describe.skipIf(!hasAll)("to its end", () => {
  test.each(short.map((line) => [line.join(" "), line] as const))("%s", async (_text, line) => {
    await using runs = await LabRuns.make();
    const { code, stdout, stderr } = await runs.start(line, LIMIT_MS).result;
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(stdout.trim().split("\n")).toHaveLength(KERNEL_SERIES.length);
    expect(await runs.left()).toEqual(NOTHING);
  });
});

// Each waits for its own guest: three at a time keep two processors busy.
describe.skipIf(!hasAll)("until it is at work on a guest", { concurrent: true }, () => {
  test.each(long)("%s", async (text, line, i) => {
    await using runs = await LabRuns.make();
    // A directory of another machine's is the run's own here.
    const args = line.map((word) => (word.startsWith("/") ? join(runs.cwd, basename(word)) : word));
    const run = runs.start(args, LIMIT_MS);
    const ended = run.result.then(({ code, stderr }) => {
      throw new Error(`${text} ended with ${code} before it was at work: ${stderr}`);
    });
    const boots = until(`a guest of ${text} boots`, LIMIT_MS, async () => await runs.boots(run));
    await Promise.race([boots.then(async () => await delay(i * LATER_MS)), ended]);
    ended.catch(() => undefined);
    const { code, stdout, stderr, endedAfterMs } = await interrupted(run);
    expect({ code, stderr }).toMatchObject({ code: 130 });
    expect(stdout).toBe("");
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(endedAfterMs).toBeLessThan(10_000);
    expect(await runs.left()).toEqual(NOTHING);
    // What was to be written is there as far as it goes: results, with which a later run goes on, and no page.
    const out = args.includes("--out") ? [basename(args[args.indexOf("--out") + 1]!)] : [];
    expect(await readdir(runs.cwd)).toEqual(out);
    for (const name of out) expect((await readResults(join(runs.cwd, name)))?.trials).toEqual([]);
  });
});
