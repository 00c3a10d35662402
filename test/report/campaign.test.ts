import { describe, expect, test } from "vitest";
import { mergeResults } from "../../src/lab/campaign/results.ts";
import {
  campaignJson,
  campaignRows,
  campaignText,
  ourFailures,
  wilson95,
} from "../../src/report/campaign.ts";
import { HEAD, trial } from "../lab/campaign/samples.ts";

describe("Wilson's interval", () => {
  test.each([
    // Newcombe 1998 (Statistics in Medicine 17), table I, method 3, and what follows by symmetry.
    [81, 263, 0.2553, 0.3662],
    [15, 148, 0.0624, 0.1605],
    [0, 20, 0, 0.1611],
    [1, 29, 0.0061, 0.1718],
    [20, 20, 0.8389, 1],
  ])("of %d in %d", (seen, of, low, high) => {
    const [from, to] = wilson95(seen, of);
    expect(from).toBeCloseTo(low, 4);
    expect(to).toBeCloseTo(high, 4);
  });

  test("says nothing where nothing was tried", () => {
    expect(wilson95(0, 0)).toEqual([0, 1]);
  });
});

const TRIALS = [
  trial(0, { pages: { sampled: 32, equal: 32, different: 0, unreadable: 0 } }),
  trial(1, { outcome: "no-dump", reasons: ["No capture kernel came up"], moment: "after" }),
  trial(0, { way: "reload", outcome: "no-dump", lost: 2 }),
  trial(0, { way: "kernel", kernel: "6.12", kernelCode: "0x1000000" }),
  trial(0, { kernel: "5.10", removals: { asked: 1, gone: 1 } }),
  trial(1, { kernel: "5.10", removals: { asked: 2, gone: 1 } }),
];
const MERGED = mergeResults([{ name: "a", results: { head: HEAD, trials: TRIALS } }]);

describe("a campaign's report", () => {
  test("has a row for each kernel, system call and way, in the order of kernels", () => {
    expect(campaignRows(TRIALS).map(({ kernel, way }) => `${kernel} ${way}`)).toEqual([
      "5.10 in-place",
      "6.1 reload",
      "6.1 in-place",
      "6.12 kernel",
    ]);
  });

  test("names each dump that we promised and that is not complete, with the command that runs it again", () => {
    const text = campaignText(MERGED);
    expect(text).toContain("6.1/kexec_file_load/in-place/1: no-dump: No capture kernel came up");
    expect(text).toContain("kdump-hotplug lab campaign --trial 1");
    expect(text).not.toContain("reload/0");
    expect(text).toContain("2 guests were lost before their panic");
    expect(text).toContain("32 of 32");
    expect(text).toContain("2 of 3");
    expect(ourFailures(TRIALS).map(({ index }) => index)).toEqual([1]);
  });

  test("gives the same counts as JSON", () => {
    expect(campaignJson(MERGED)).toMatchObject({
      schemaVersion: 1,
      trials: 6,
      rows: [
        { kernel: "5.10", removals: { asked: 3, gone: 2 } },
        { way: "reload", panics: 1, noDump: 1, lostBeforePanic: 2 },
        { way: "in-place", panics: 2, complete: 1, noDump: 1, moments: { after: { noDump: 1 } } },
        { way: "kernel", complete: 1, incomplete: 0, noDump: 0 },
      ],
    });
  });
});
