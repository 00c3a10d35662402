import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "../../src/cli/run.ts";
import { resultLine } from "../../src/lab/campaign/results.ts";
import { HEAD, trial } from "../lab/campaign/samples.ts";

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function ended(...args: readonly string[]): Promise<Ended> {
  let [stdout, stderr] = ["", ""];
  const context = {
    print: (text: string) => void (stdout += text),
    say: (line: string) => void (stderr += `${line}\n`),
    signal: new AbortController().signal,
  };
  return { code: await run(["lab", ...args], context, "1.2.3"), stdout, stderr };
}

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdh-test-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function fileOf(name: string, ...values: readonly Parameters<typeof resultLine>[0][]): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, values.map(resultLine).join(""));
  return path;
}

describe("lab merge", () => {
  test("puts shards together and prints one table", async () => {
    const files = [await fileOf("1", HEAD, trial(0), trial(2)), await fileOf("2", HEAD, trial(1))];
    const { code, stdout, stderr } = await ended("merge", ...files);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain("3 panics, seed 1; 6.1.0-56-cloud-amd64 under QEMU 10.0.2");
    const json: unknown = JSON.parse((await ended("merge", ...files, "--json")).stdout);
    expect(json).toMatchObject({ schemaVersion: 1, trials: 3, rows: [{ complete: 3 }] });
  });

  test("prints a matrix where the files are of one, and puts it together with no campaign", async () => {
    const matrix = await fileOf("7", { ...HEAD, kind: "matrix" }, trial(0));
    expect((await ended("merge", matrix)).stdout).toContain("one-dimm: one DIMM of 1 GiB added");
    expect((await ended("merge", matrix, await fileOf("8", HEAD))).code).toBe(2);
  });

  test("ends with 1 where a dump that we promise is not there, and not where nobody promised it", async () => {
    const lost = await fileOf("3", HEAD, trial(0, { outcome: "no-dump", cause: "unknown" }));
    expect((await ended("merge", lost)).code).toBe(1);
    const other = await fileOf(
      "4",
      HEAD,
      trial(0, { way: "reload", outcome: "no-dump", cause: "not-loaded" }),
    );
    expect((await ended("merge", other)).code).toBe(0);
  });

  test("refuses files that are none, or of two campaigns, in one sentence", async () => {
    const files = [await fileOf("5", HEAD), await fileOf("6", { ...HEAD, seed: 2 })];
    expect(await ended("merge", ...files)).toMatchObject({ code: 2, stdout: "" });
    expect((await ended("merge", ...files)).stderr).toMatch(
      /6 is of another campaign than .*5: campaign and campaign, seed 2 and 1/,
    );
    const missing = await ended("merge", join(directory, "none"));
    expect(missing).toMatchObject({ code: 2, stdout: "" });
    expect(missing.stderr).toContain("is missing or empty; expected results of lab campaign");
  });
});

describe("lab campaign", () => {
  test.each([
    [["--shard", "5/4"], "expected i/n with i from 1 to n, such as 2/4"],
    [["--shard", "0/4"], "expected i/n"],
    [["--way", "prayer"], "expected one of nothing, reload, throttled, kernel, re-arm, in-place, plug"],
    [["--trials", "0"], "expected a whole number from 1 on"],
    [["--way", "kernel", "--kernel", "6.1"], "way kernel needs Linux 6.6 or newer and kexec_file_load"],
  ])("refuses %j before anything is fetched or started", async (args, words) => {
    const { code, stderr } = await ended("campaign", ...args);
    expect(stderr).toContain(words);
    expect(code).toBe(2);
  });

  test.each(["campaign", "matrix", "merge"])("%s says in its help what it does", async (name) => {
    const { code, stdout } = await ended(name, "--help");
    expect(code).toBe(0);
    expect(stdout).toContain(`Usage: kdump-hotplug lab ${name}`);
  });
});
