import { describe, expect, test } from "vitest";
import {
  mergeResults,
  parseResults,
  readResults,
  resultLine,
  ResultsError,
  type TrialRecord,
} from "../../../src/lab/campaign/results.ts";
import { HEAD, trial } from "./samples.ts";

const TEXT = [HEAD, trial(0), trial(1)].map(resultLine).join("");

describe("results", () => {
  test("are read as they were written", () => {
    expect(parseResults(TEXT, "a")).toEqual({ head: HEAD, trials: [trial(0), trial(1)] });
  });

  test("are read to the last whole line, wherever a run was killed", () => {
    const lines = TEXT.split("\n");
    for (let length = 0; length <= TEXT.length; length++) {
      const whole = TEXT.slice(0, length).split("\n").length - 1;
      const results = parseResults(TEXT.slice(0, length), "a");
      expect(results?.trials.length).toBe(whole === 0 ? undefined : whole - 1);
    }
    expect(lines).toHaveLength(4);
  });

  test.each([
    ["no JSON", "{\n", "Line 1 of a is no JSON"],
    ["something else", '{"kind":"other"}\n', "Line 1 of a is not of lab campaign: kind"],
    ["another version", `${JSON.stringify({ ...HEAD, version: 2 })}\n`, "version"],
    [
      "a trial without an outcome",
      `${resultLine(HEAD)}${JSON.stringify({ ...trial(0), outcome: "fine" })}\n`,
      "Line 2 of a",
    ],
  ])("are refused where they are %s", (_what, text, words) => {
    expect(() => parseResults(text, "a")).toThrow(ResultsError);
    expect(() => parseResults(text, "a")).toThrow(words);
  });

  test("of a file that is not there are none", async () => {
    expect(await readResults("/nonexistent/results.jsonl")).toBeUndefined();
  });
});

/** A file with these trials. */
function file(name: string, ...trials: readonly TrialRecord[]): Parameters<typeof mergeResults>[0][number] {
  return { name, results: { head: HEAD, trials } };
}

describe("results of shards", () => {
  test("are put together, a trial that is in two of them once", () => {
    const lost = trial(1, { outcome: "no-dump" });
    const merged = mergeResults([file("a", trial(0), lost), file("b", trial(1), trial(2))]);
    expect(merged.trials).toEqual([trial(0), lost, trial(2)]);
    expect(merged.twice).toEqual([trial(1).id]);
  });

  test("without CPUs are as they ever were, and are not put together with those that have some", () => {
    expect(resultLine(HEAD)).not.toContain("cpus");
    const withCpus = trial(0, { cpus: { online: 3, dumped: 3 } });
    const head = { ...HEAD, cpus: true };
    const text = `${resultLine(head)}${resultLine(withCpus)}`;
    expect(parseResults(text, "c")).toEqual({ head, trials: [withCpus] });
    const other = { name: "b", results: { head, trials: [] } };
    expect(() => mergeResults([file("a"), other])).toThrow(/CPUs true and false/);
  });

  test("are refused where they are of different campaigns", () => {
    const other = { name: "b", results: { head: { ...HEAD, seed: 2 }, trials: [] } };
    expect(() => mergeResults([file("a"), other])).toThrow(
      /b is of another campaign than a: campaign and campaign, seed 2 and 1/,
    );
    expect(() => mergeResults([])).toThrow(ResultsError);
  });
});
