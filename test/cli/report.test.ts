import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Context } from "../../src/cli/context.ts";
import { openReport } from "../../src/cli/report-file.ts";
import { run } from "../../src/cli/run.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { SimulatedTarget } from "../../src/targets/simulated/machine.ts";
import { parseTarget } from "../../src/targets/target.ts";
import { ended } from "./ended.ts";

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdump-hotplug-report-"));
});
afterAll(async () => rm(directory, { recursive: true, force: true }));

describe.each([
  ["simulate", "dimm-1g"],
  ["simulate", "rfc"],
  ["audit", "sim:6.1"],
  ["lab", "run"],
  ["lab", "run", "--policy", "all"],
  ["lab", "campaign"],
  ["lab", "matrix"],
  ["lab", "merge", "nothing.jsonl"],
])("%s %s", (...args) => {
  test("whose page has no place is refused before anything is run", async () => {
    const path = join(directory, "no", "page.html");
    const { code, stdout, stderr } = await ended(...args, "--report", path);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toBe(
      `No page can be written to ${path}: there is no directory ${join(directory, "no")}; make it first\n`,
    );
  });
});

describe("a page", () => {
  test("takes the place of the one before, and nothing else is left in its directory", async () => {
    const own = join(directory, "own");
    await mkdir(own);
    const path = join(own, "page.html");
    await writeFile(path, "old");
    const { code, stdout, stderr } = await ended("audit", "sim:6.1,dimm=1G", "--json", "--report", path);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ verdict: "inaccurate" });
    expect(stderr).toBe(`Wrote ${path}\n`);
    expect(await readdir(own)).toEqual(["page.html"]);
    const text = await readFile(path, "utf8");
    expect(text).toMatch(/^<!doctype html>/);
    expect(text).toContain(`<code>kdump-hotplug audit sim:6.1,dimm=1G --json --report ${path}</code>`);
  });

  test("is no directory", async () => {
    const { code, stderr } = await ended("audit", "sim:6.1", "--report", directory);
    expect([code, stderr]).toEqual([2, `--report ${directory} is a directory: give a file in it\n`]);
  });

  test("is of one target and one scenario", async () => {
    const path = join(directory, "x.html");
    expect((await ended("audit", "--all", "--report", path)).code).toBe(2);
    expect((await ended("simulate", "--sweep", "3", "--report", path)).code).toBe(2);
    expect(await readdir(directory)).not.toContain("x.html");
  });
});

function pagePath(): string {
  return join(directory, "from-keeper.html");
}

describe("a page that a keeper makes for who asked it", () => {
  test("is handed back, not written where the keeper runs", async () => {
    const printed: string[] = [];
    const target = parseTarget("sim:6.1,dimm=1G");
    if (target.kind !== "sim") throw new TypeError("expected a simulated machine");
    const code = await run(
      ["audit", "qmp:/run/guest.sock", "--report", pagePath()],
      {
        print: (text) => void printed.push(text),
        say: () => undefined,
        signal: new AbortController().signal,
        machine: async () => SimulatedTarget.open(target.text, target.spec, nodeSha256),
      },
      "1.2.3",
    );
    expect(code).toBe(1);
    expect(printed.length).toBe(2);
    expect(printed[1]).toMatch(/^\0page\0<!doctype html>/);
    expect(await readdir(directory)).not.toContain("from-keeper.html");
  });

  test("is written by who asked, also where the command ends by an error", async () => {
    const printed: string[] = [];
    const context: Context = {
      print: (text) => void printed.push(text),
      say: () => undefined,
      signal: new AbortController().signal,
    };
    const report = (await openReport(context, { report: pagePath() }))!;
    const carriedOut = report.fromKeeper(async ({ print }) => {
      print("accurate\n");
      print("\0page\0<!doctype html>");
      throw new Error("carried out");
    });
    await expect(carriedOut).rejects.toThrow("carried out");
    expect(printed).toEqual(["accurate\n"]);
    expect(await readFile(pagePath(), "utf8")).toBe("<!doctype html>");
  });
});

describe("--picture", () => {
  test("of an audit comes behind what there is without it", async () => {
    const plain = await ended("audit", "sim:6.1,dimm=1G");
    const drawn = await ended("audit", "sim:6.1,dimm=1G", "--picture");
    expect(drawn.stdout.startsWith(plain.stdout)).toBe(true);
    expect(drawn.stdout.slice(plain.stdout.length)).toMatch(/\|M+\|/);
    expect(drawn.code).toBe(plain.code);
  });

  test("of a simulation is the timeline, and the memory where most is missing and at the end", async () => {
    const { stdout } = await ended("simulate", "dimm-1g", "--policy", "rhel7", "--picture");
    expect(stdout).toContain("# blind   x blind at times");
    expect(stdout).toMatch(/rhel7, memory block 263 comes online at [\d.]+ s\n/);
    expect(stdout).toContain("|MMMMMMMM|");
    expect(stdout).toContain("|........|");
  });

  test("does not go with --json", async () => {
    expect((await ended("audit", "sim:6.1", "--json", "--picture")).code).toBe(2);
    expect((await ended("simulate", "--json", "--picture")).code).toBe(2);
  });
});
