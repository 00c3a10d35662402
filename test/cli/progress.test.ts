/** The line that long work shows at a terminal. */
import { describe, expect, test } from "vitest";
import { Progress, RunProgress } from "../../src/cli/progress.ts";
import { Terminal } from "../../src/cli/terminal.ts";
import { run } from "../../src/cli/run.ts";

function shown(): { readonly lines: string[]; readonly progress: (line: string) => void } {
  const lines: string[] = [];
  return { lines, progress: (line) => void lines.push(line) };
}

test("runs of the lab say what they do, and how long the rest takes at this machine's pace", () => {
  const { lines, progress } = shown();
  let now = 0;
  const runs = new RunProgress({ progress }, 2, () => now);
  runs.begins("boot");
  // Twice as slow as where the steps were measured.
  now = 9400;
  runs.begins("load");
  runs.end();
  expect(lines).toEqual([
    "booting a guest; about 55 s left",
    "loading its capture kernel; about 2 min left",
    "",
  ]);
});

test("a terminal that does not know its width is taken to be 80 wide", () => {
  const written: string[] = [];
  const terminal = new Terminal({ columns: 0, write: (text: string) => written.push(text) });
  terminal.progress("x".repeat(100));
  expect(written.join("")).toBe(`\r\u001B[K${"x".repeat(79)}`);
});

describe("progress", () => {
  test("says how many are done, and how long the rest takes", () => {
    const { lines, progress } = shown();
    let now = 0;
    const work = new Progress({ progress }, 4, () => now);
    for (const at of [30_000, 120_000, 180_000, 240_000]) {
      now = at;
      work.step("panics");
    }
    work.end();
    expect(lines).toEqual([
      "1 of 4 panics; about 2 min left",
      "2 of 4 panics; about 2 min left",
      "3 of 4 panics; about 60 s left",
      "4 of 4 panics; about 0 s left",
      "",
    ]);
  });

  test("is not written more often than it can be read, but to the end", () => {
    const { lines, progress } = shown();
    const work = new Progress({ progress }, 1000, () => 0);
    for (let step = 0; step < 1000; step++) work.step("scenarios");
    expect(lines).toHaveLength(2);
    expect(lines.at(-1)).toBe("1000 of 1000 scenarios; about 0 s left");
  });

  test.each([
    [["simulate", "--sweep", "3", "--policy", "in-place"], /^[12] of 3 scenarios; about \d+ s left$/],
    [
      ["simulate", "dimm-1g", "--policy", "in-place", "--panics", "3"],
      /^[12] of 3 panics; about \d+ s left$/,
    ],
  ])("is shown by %j, and taken away", async (args, last) => {
    const { lines, progress } = shown();
    const surroundings = {
      print: () => undefined,
      say: () => undefined,
      progress,
      signal: new AbortController().signal,
    };
    expect(await run(args, surroundings, "1")).toBe(0);
    expect(lines.at(-1)).toBe("");
    expect(lines.at(-2)).toMatch(last);
  });
});

/** What can be seen after all of that was written. */
function screen(written: string): readonly string[] {
  return written.split("\n").map((line) => line.split("\r\x1b[K").at(-1)!);
}

describe("a terminal", () => {
  test("has what is said above the line that is written over", () => {
    let written = "";
    const terminal = new Terminal({ columns: 80, write: (text) => void (written += text) });
    terminal.progress("1 of 4");
    terminal.say("Running the first");
    terminal.progress("2 of 4");
    terminal.say("Running the second");
    expect(screen(written)).toEqual(["Running the first", "Running the second", "2 of 4"]);
    terminal.progress("");
    terminal.say("Done");
    expect(screen(written)).toEqual(["Running the first", "Running the second", "Done", ""]);
  });

  test("is never given a line that it would break", () => {
    let written = "";
    new Terminal({ columns: 40, write: (text) => void (written += text) }).progress("x".repeat(200));
    expect(screen(written)[0]).toHaveLength(39);
  });
});
