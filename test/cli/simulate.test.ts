import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "../../src/cli/run.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdump-hotplug-simulate-"));
});
afterAll(async () => rm(directory, { recursive: true, force: true }));

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function simulate(...args: readonly string[]): Promise<Result> {
  let stdout = "";
  let stderr = "";
  const context = {
    print: (text: string) => void (stdout += text),
    say: (line: string) => void (stderr += `${line}\n`),
    signal: new AbortController().signal,
  };
  const code = await run(["simulate", ...args], context, "0.0.0");
  return { code, stdout, stderr };
}

async function file(name: string, text: string): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, text);
  return path;
}

describe("simulate", () => {
  test("without a scenario one DIMM of 1 GiB under every policy, and says that it is simulated", async () => {
    const { code, stdout } = await simulate();
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Simulated: one DIMM of 1 GiB \(dimm-1g\)/);
    for (const name of ["none", "rhel7", "rhel8", "debian", "suse", "kernel", "re-arm", "in-place"])
      expect(stdout).toMatch(new RegExp(`^ {2}${name} `, "m"));
  });

  test("rfc prints the table, what is calibrated, what is predicted, and ends with 0 where all cells hold", async () => {
    const { code, stdout } = await simulate("rfc");
    expect(code).toBe(0);
    expect(stdout).toMatch(/rhel8 +rfc-480x1 +419 s +419\.0 s/);
    expect(stdout).toContain("Calibrated: two parameters for each row");
    expect(stdout).toMatch(/reloads of RHEL 8, 480 DIMMs +320 reloads +105 reloads/);
    expect(stdout).toContain("What does not fit together in the RFC's own figures:");
  });

  test("JSON says so too, has every policy, and names the origin of each cost", async () => {
    const { stdout } = await simulate("dimm-1g", "--policy", "rhel8", "--cost", "load=1300", "--json");
    const json: unknown = JSON.parse(stdout);
    expect(json).toMatchObject({
      schemaVersion: 1,
      simulated: true,
      scenario: { name: "dimm-1g" },
      costs: { load: { value: 1300, origin: "given" }, rearm: { origin: "measured" } },
      policies: [{ policy: "rhel8", loads: 1, final: { condition: "accurate" } }],
    });
  });

  test("fedora33 and centos8-stream are rhel8", async () => {
    for (const name of ["fedora33", "centos8-stream"])
      expect((await simulate("--policy", name)).stdout).toMatch(/^ {2}rhel8 /m);
  });

  test("rules of one's own are a policy", async () => {
    await writeFile(
      join(directory, "99-own.rules"),
      'SUBSYSTEM=="memory", ACTION=="add", ATTR{state}="online"\nSUBSYSTEM=="memory", ACTION=="online", RUN+="/usr/bin/kdumpctl reload"\n',
    );
    const { code, stdout } = await simulate("--policy", "none", "--rules-dir", directory, "--json");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      policies: [{ policy: "none" }, { policy: directory, loads: 8 }],
    });
  });

  test("a scenario of one's own comes from a file", async () => {
    const path = await file(
      "two.json",
      '{"schemaVersion":1,"name":"two","steps":[{"plug":"1G","count":2,"every":"2s"}]}',
    );
    const { stdout } = await simulate(path, "--policy", "rhel7", "--json");
    expect(JSON.parse(stdout)).toMatchObject({ policies: [{ policy: "rhel7", loads: 16 }] });
  });

  test("panics of a machine of bytes stand beside the odds", async () => {
    const { stdout } = await simulate("--policy", "rhel7", "--panics", "50", "--json");
    const json: unknown = JSON.parse(stdout);
    expect(json).toMatchObject({ policies: [{ sampledPanics: { blind: expect.any(Number) } }] });
    expect((await simulate("--policy", "rhel7", "--panics", "50")).stdout).toContain(
      "Panics of a machine of bytes",
    );
  });

  test("a timeline goes to the terminal and into a file", async () => {
    const path = join(directory, "out.svg");
    const { stdout, stderr } = await simulate("--timeline", "--svg", path);
    expect(stdout).toContain("# blind");
    expect(stderr).toContain(`Wrote ${path}`);
    expect(await readFile(path, "utf8")).toMatch(/^<svg .*<\/svg>\n$/s);
  });

  test("a sweep runs random scenarios, the same for the same seed", async () => {
    const first = await simulate("--sweep", "3", "--seed", "5", "--policy", "rhel8");
    expect(first.code).toBe(0);
    expect(first.stdout).toContain("3 random scenarios (seed 5)");
    expect(await simulate("--sweep", "3", "--seed", "5", "--policy", "rhel8")).toEqual(first);
  });
});

describe("bad input ends with 2 and one sentence", () => {
  test.each<readonly [string, readonly string[], RegExp]>([
    ["an unknown scenario", ["nope"], /expected one of rfc-1x480/],
    ["an unknown policy", ["--policy", "rhel9"], /expected one of none, rhel7/],
    [
      "the kernel's policy on an older one",
      ["--policy", "kernel", "--kernel", "6.1"],
      /expected kernel 6\.12/,
    ],
    ["an unknown cost", ["--cost", "nothing=1"], /expected NAME=MILLISECONDS/],
    ["a negative cost", ["--cost", "load=-1"], /expected NAME=MILLISECONDS/],
    ["no worker", ["--cost", "workers=0"], /at least one worker/],
    ["a file that is not there", ["./nothing.json"], /is not there/],
    ["a scenario and a sweep", ["dimm-1g", "--sweep", "2"], /only one of them/],
    ["rfc with policies", ["rfc", "--policy", "none"], /its own policies and costs/],
    ["no rules", ["--rules-dir", "/nonexistent/rules"], /No rules/],
  ])("%s", async (_what, args, message) => {
    const { code, stdout, stderr } = await simulate(...args);
    expect(stderr).toMatch(message);
    expect([code, stdout]).toEqual([2, ""]);
    expect(
      stderr
        .trim()
        .replace(/\nSee kdump-hotplug simulate --help$/, "")
        .split("\n"),
    ).toHaveLength(1);
  });

  test("a scenario file with a mistake names the place", async () => {
    const path = await file(
      "bad.json",
      '{"schemaVersion":1,"name":"x","steps":[{"plug":"1G","every":"-3s"}]}',
    );
    const { code, stderr } = await simulate(path);
    expect(code).toBe(2);
    expect(stderr).toContain(`${path}: steps.0.every: found "-3s", expected "settled" or a time`);
  });
});
