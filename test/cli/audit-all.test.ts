/** `audit --all`: of this user's keepers, and of a configuration. */
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ended } from "./ended.ts";
import { UnderWay } from "./under-way.ts";

const SMALL = "ram=209M,crash=16M";
const TRUE = `sim:6.1,${SMALL},possible=2`;
const EMPTY = `sim:6.1,${SMALL},noload`;
const ABSENT = "qmp:/nowhere/a.sock";
let directory = "";
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdh-test-"));
  vi.stubEnv("KDUMP_HOTPLUG_RUNTIME_DIR", join(directory, "run"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(directory, { recursive: true, force: true });
});

/** On a machine that is busy with other things a keeper may take too long to answer: it is asked again then. */
const answered: typeof ended = async (...args) =>
  await vi.waitUntil(
    async () => {
      const told = await ended(...args);
      return !`${told.stdout}${told.stderr}`.includes("did not answer") && told;
    },
    { timeout: 60_000 },
  );

describe("audit --all", { timeout: 90_000 }, () => {
  test("asks every keeper for everything that it has, and what is not there is not forgotten", async () => {
    await using one = new UnderWay("keep", TRUE, EMPTY, ABSENT);
    await one.until(/: accurate/);
    await one.until(/: not-loaded/);
    await one.until(/: unreachable/);
    const text = await answered("audit", "--all");
    expect(text).toMatchObject({ code: 3, stderr: "" });
    expect(text.stdout).toContain(`${TRUE} (simulated): accurate\n`);
    expect(text.stdout).toContain(`${EMPTY} (simulated): not-loaded\n`);
    expect(text.stdout).toContain(`${ABSENT}: unknown\n  No socket at "/nowhere/a.sock": start QEMU`);
    const json = await answered("audit", "--all", "--json");
    expect(json.code).toBe(3);
    expect(JSON.parse(json.stdout)).toMatchObject({
      schemaVersion: 1,
      targets: [
        { target: TRUE, simulated: true, verdict: "accurate" },
        { target: EMPTY, verdict: "not-loaded", image: null },
        { target: ABSENT, verdict: "unknown", reason: expect.stringContaining("No socket") },
      ],
    });
    const nagios = await answered("audit", "--all", "--nagios");
    expect(nagios.code).toBe(2);
    expect(nagios.stdout).toMatch(/^CRITICAL - 1 of 3 targets accurate; .*\|targets=3;;;0 accurate=1;;;0;3 /);
  });

  test("tells of a keeper that hangs, and of what the others have", async () => {
    await using one = new UnderWay("keep", TRUE);
    await one.until(/: accurate/);
    const [socket] = await readdir(join(directory, "run"));
    const hangs = join(directory, "run", socket!.replace(/keeper-\d+/, "keeper-1"));
    const hanging = createServer(() => undefined);
    await new Promise<void>((resolve) => hanging.listen(hangs, resolve));
    try {
      const { code, stdout } = await ended("audit", "--all");
      expect(code).toBe(3);
      expect(stdout).toContain(`${hangs}: unknown\n  The keeper at ${hangs} did not answer within 2000 ms`);
      expect(stdout).toContain(`${TRUE} (simulated): `);
    } finally {
      hanging.close();
    }
  });

  test("of a configuration needs no keeper; one inaccurate target is a no", async () => {
    const config = join(directory, "keep.json");
    await writeFile(
      config,
      JSON.stringify({ targets: [TRUE, `${TRUE},dimm=128M`, `qmp:${directory}/*.sock`] }),
    );
    const { code, stdout } = await ended("audit", "--all", "--config", config, "--json");
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      targets: [{ verdict: "accurate" }, { verdict: "inaccurate" }],
    });
    await writeFile(config, JSON.stringify({ targets: [`qmp:${directory}/*.sock`] }));
    const none = await ended("audit", "--all", "--config", config);
    expect(none).toMatchObject({
      code: 3,
      stdout: "",
      stderr: expect.stringContaining("lists no target that"),
    });
  });

  test.each([
    [["audit", "--all"], 3, /^No keeper of this user has any target: start kdump-hotplug keep/],
    [["audit", "--all", TRUE], 2, /Give either a TARGET or --all/],
    [["audit", TRUE, "--config", "/k"], 2, /--config goes with --all/],
    [["audit", "--all", "--config", "/nowhere/k"], 2, /is not there/],
  ])("%j is told, exit code %i", async (args, code, words) => {
    const result = await ended(...args);
    expect(result).toMatchObject({ code, stdout: "" });
    expect(result.stderr).toMatch(words);
  });
});
