import { describe, expect, test } from "vitest";
import type { MergedResults, TrialRecord } from "../../src/lab/campaign/results.ts";
import { matrixCells, matrixJson, matrixText } from "../../src/report/matrix.ts";
import { HEAD, trial } from "../lab/campaign/samples.ts";

/** What was merged of these trials. */
function results(...trials: readonly TrialRecord[]): MergedResults {
  return { head: { ...HEAD, kind: "matrix" }, trials, twice: [] };
}

const GONE = [{ start: "0x100000000", end: "0x110000000", bytes: 268435456 }];
/** The numbers of the first changes come again after so many. */
const COUNT = 4;
const TRIALS: readonly TrialRecord[] = [
  trial(0),
  trial(0, { way: "nothing", outcome: "incomplete" }),
  trial(2, { way: "kernel", kernel: "6.12", claimed: GONE }),
  trial(1, { way: "reload", outcome: "no-dump" }),
  trial(1 + COUNT, { way: "reload" }),
];

describe("a matrix's report", () => {
  test("has a row for each kernel, system call and change, a column for each way", () => {
    const lines = matrixText(results(...TRIALS))
      .split("\n")
      .map((line) => line.trim().split(/ {2,}/));
    expect(lines).toContainEqual([
      "kernel",
      "loaded by",
      "change",
      "nothing",
      "reload",
      "kernel",
      "in-place",
    ]);
    expect(lines).toContainEqual(["6.1", "kexec_file_load", "one-dimm", "INCOMPLETE", "-", "-", "complete"]);
    expect(lines).toContainEqual(["6.12", "kexec_file_load", "removed", "-", "-", "complete*", "-"]);
  });

  test("tells how many of each where a cell has several panics, and what an asterisk means", () => {
    const text = matrixText(results(...TRIALS));
    expect(text).toContain("1 complete, 1 NO DUMP");
    expect(text).toContain("*: the dump claims memory that was gone");
    expect(matrixText(results(trial(0)))).not.toContain("*");
  });

  test("gives the same cells as JSON", () => {
    expect(matrixCells(TRIALS)).toHaveLength(4);
    expect(matrixJson(results(...TRIALS))).toMatchObject({
      schemaVersion: 1,
      cells: [
        { way: "nothing", change: "one-dimm", incomplete: 1 },
        { way: "in-place", complete: 1 },
        { way: "reload", change: "three-dimms", complete: 1, noDump: 1 },
        { kernel: "6.12", change: "removed", claimed: 1 },
      ],
    });
  });
});
