/** The built program as a service, asked by a second process; the guest is a pretended QEMU in this one. */
import { existsSync, readdirSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type CliResult, type CliRun, startCli } from "../real/cli.ts";
import { SMALL, type SimulatedQemu, startSimulatedQemu } from "../targets/qemu/simulated-qemu.ts";

const DIMM = 128n << 20n;
let directory = "";
let env: Readonly<Record<string, string>> = {};
const guests: SimulatedQemu[] = [];
const runs: CliRun[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdh-service-"));
  env = { KDUMP_HOTPLUG_RUNTIME_DIR: join(directory, "run") };
});
afterEach(async () => {
  for (const { child, result } of runs.splice(0)) {
    child.kill("SIGKILL");
    await result;
  }
  for (const guest of guests.splice(0)) await guest.stop();
  await rm(directory, { recursive: true, force: true });
});

/** One guest only: what holds two pretended QEMUs is one process, and so one QEMU to the keeper's lock. */
async function startGuest(options: Parameters<typeof startSimulatedQemu>[1] = {}): Promise<SimulatedQemu> {
  const started = await startSimulatedQemu(SMALL, { path: join(directory, "a.sock"), ...options });
  guests.push(started);
  return started;
}

function start(...args: readonly string[]): CliRun {
  const run = startCli(args, 120_000, env);
  runs.push(run);
  return run;
}

/** Runs it to its end, which must not be long in coming. */
async function cli(...args: readonly string[]): Promise<CliResult> {
  return await startCli(args, 60_000, env).result;
}

/** What a run has printed so far. */
function follow({ child }: CliRun): {
  readonly until: (words: RegExp) => Promise<void>;
  readonly text: () => string;
} {
  let text = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (bytes: Buffer) => (text += bytes.toString()));
  const until = async (words: RegExp): Promise<void> => {
    await vi.waitFor(() => expect(text).toMatch(words), { timeout: 60_000, interval: 10 });
  };
  return { until, text: () => text };
}

const PATIENT = { timeout: 180_000 };

describe("a keeper and who asks it, in two processes", PATIENT, () => {
  it("carries out audit, plug and unplug, and tells monitoring of all", async () => {
    const { machine, path } = await startGuest();
    const keep = start("keep", `qmp:${join(directory, "*.sock")}`);
    const { until } = follow(keep);
    await until(/a\.sock: accurate/);
    const audit = await cli("audit", `qmp:${path}`, "--json");
    expect(audit).toMatchObject({ code: 0, stderr: "" });
    expect(JSON.parse(audit.stdout)).toMatchObject({ target: `qmp:${path}`, verdict: "accurate" });
    // By another name for the same socket.
    expect((await cli("audit", `qmp:${join(directory, "run/../a.sock")}`)).code).toBe(0);
    const plugged = await cli("plug", `qmp:${path}`, "--memory", "128M");
    expect(plugged).toMatchObject({ code: 0, stderr: "" });
    expect(machine.judge()).toMatchObject({ outcome: "complete" });
    expect((await cli("unplug", `qmp:${path}`, "kdh-mem0")).code).toBe(0);
    expect(machine.dimms).toHaveLength(0);
    const all = await cli("audit", "--all", "--json");
    expect(JSON.parse(all.stdout)).toMatchObject({ schemaVersion: 1, targets: [{ verdict: "accurate" }] });
    const nagios = await cli("audit", "--all", "--nagios");
    expect(nagios).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(
        /^OK - 1 of 1 targets accurate\|targets=1;;;0 accurate=1;;;0;1 missing=0B;0;;0 /,
      ),
    });
    keep.child.kill("SIGTERM");
    const { code, stderr } = await keep.result;
    expect({ code, stderr }).toEqual({ code: 130, stderr: "" });
    expect(readdirSync(join(directory, "run"))).toEqual([]);
  });

  it("brings an install that SIGTERM comes into to its end, and ends within 2 s", async () => {
    let keep: CliRun | undefined;
    let signalled = 0;
    const { machine, fake, plug } = await startGuest({
      onState: (running) => {
        if (running || machine.dimms.length === 0 || keep === undefined) return;
        signalled ||= performance.now();
        keep.child.kill("SIGTERM");
      },
    });
    keep = start("keep", `qmp:${join(directory, "*.sock")}`);
    const { until } = follow(keep);
    await until(/a\.sock: accurate/);
    plug(DIMM);
    const { code } = await keep.result;
    expect(code).toBe(130);
    expect(signalled).toBeGreaterThan(0);
    expect(performance.now() - signalled).toBeLessThan(2000);
    expect(fake.state).toEqual({ status: "running", running: true });
    expect(machine.judge()).toMatchObject({ outcome: "complete" });
  });

  it("ends within 2 s where QEMU does not answer", async () => {
    let stands = false;
    await startGuest({ stands: () => stands });
    const keep = start("keep", `qmp:${join(directory, "*.sock")}`);
    const { until } = follow(keep);
    await until(/a\.sock: accurate/);
    stands = true;
    await new Promise((resolve) => setTimeout(resolve, 300));
    const started = performance.now();
    keep.child.kill("SIGTERM");
    expect((await keep.result).code).toBe(130);
    expect(performance.now() - started).toBeLessThan(2000);
  });

  it("reads its configuration again on SIGHUP and keeps the old one where it is bad", async () => {
    await startGuest();
    const config = join(directory, "keep.json");
    await writeFile(config, JSON.stringify({ targets: [`qmp:${join(directory, "b.sock")}`] }));
    const keep = start("keep", "--config", config);
    const { until } = follow(keep);
    await until(/b\.sock: unreachable: No socket at/);
    await writeFile(config, '{"targets": ["nonsense"]}');
    keep.child.kill("SIGHUP");
    await until(/^Refused, and the configuration before is kept: .*targets\[0\]: Cannot use "nonsense"/m);
    await writeFile(config, JSON.stringify({ targets: [`qmp:${join(directory, "a.sock")}`] }));
    keep.child.kill("SIGHUP");
    await until(/a\.sock: accurate/);
    await until(/b\.sock: gone: it is not wanted any more/);
    keep.child.kill("SIGTERM");
    expect((await keep.result).code).toBe(130);
  });

  it("that was killed leaves a socket that is in nobody's way", async () => {
    const { path } = await startGuest();
    const killed = start("keep", `qmp:${path}`);
    await follow(killed).until(/accurate/);
    killed.child.kill("SIGKILL");
    await killed.result;
    const [left] = readdirSync(join(directory, "run"));
    expect(left).toMatch(/^keeper-/);
    expect((await cli("audit", `qmp:${path}`)).code).toBe(0);
    const none = await cli("audit", "--all");
    expect(none).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/^No keeper of this user has any target/),
    });
    const next = start("keep", `qmp:${path}`);
    await follow(next).until(/accurate/);
    expect(existsSync(join(directory, "run", left!))).toBe(false);
  });
});
