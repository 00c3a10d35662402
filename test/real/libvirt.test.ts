/** Guests of a real libvirt: kept, plugged, paused and dumped through virsh. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import * as v from "valibot";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";

import { readVmcore, comparePages } from "../../src/lab/evidence.ts";
import {
  fillMemory,
  loadCaptureKernel,
  onlineMemory,
  panic,
  waitUntilOnline,
} from "../../src/lab/guest-actions.ts";
import { parseMemoryDevices } from "../../src/layout/qmp.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { seededRandom } from "../../src/simulation/random.ts";
import { listRunningDomains } from "../../src/targets/libvirt/list.ts";
import { openLibvirtMachine } from "../../src/targets/libvirt/machine.ts";
import type { QemuMachine } from "../../src/targets/qemu/machine.ts";
import { QmpClient } from "../../src/targets/qemu/qmp.ts";
import { type CliResult, type CliRun, expectOneSentence, startCli } from "./cli.ts";
import { openLab } from "./lab.ts";
import { readReport } from "./report-page.ts";
import { type DomainOptions, type LibvirtGuest, LibvirtHost } from "./libvirt-host.ts";

const lab = await openLab("guests of libvirt's", "6.1", { libvirt: true });
let host: LibvirtHost;
beforeAll(async () => {
  if (lab) host = await LibvirtHost.start(lab);
});
afterAll(async () => {
  await host?.[Symbol.asyncDispose]();
  await lab?.close();
});

const LIMIT_MS = 280_000;

function start(...args: readonly string[]): CliRun {
  return startCli(args, LIMIT_MS, host.env);
}

async function run(...args: readonly string[]): Promise<CliResult> {
  return await start(...args).result;
}

async function bootLoaded(options: DomainOptions): Promise<LibvirtGuest> {
  const guest = await host.boot(options);
  await loadCaptureKernel(guest.agent, { load: "kexec_file_load", acpiNoMemhotplug: true });
  return guest;
}

const env = (): NodeJS.ProcessEnv => ({ ...process.env, ...host.env });

async function dimmsOf(machine: QemuMachine): Promise<RangeSet> {
  const devices = parseMemoryDevices(await machine.guest.memoryDevices());
  return RangeSet.of(devices.flatMap(({ range }) => range ?? []));
}

const LineSchema = v.object({
  event: v.string(),
  audit: v.optional(v.object({ verdict: v.string() })),
  before: v.optional(v.object({ memory: v.object({ missing: v.array(v.unknown()) }) })),
  reactionMs: v.optional(v.nullable(v.number())),
  installed: v.optional(v.object({ pauseMicroseconds: v.optional(v.nullable(v.number())) })),
});
type Line = v.InferOutput<typeof LineSchema>;

/** When a command has ended; a process that it has left behind may still write. */
async function exitOf({ child }: CliRun): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

/** A `keep --json` that is under way. */
class Keeping {
  readonly run: CliRun;
  #text = "";

  constructor(target: string) {
    this.run = start("keep", target, "--json");
    this.run.child.stdout.on("data", (bytes: Buffer) => (this.#text += bytes.toString()));
    keepers.push(this.run);
  }

  get lines(): readonly Line[] {
    return this.#text
      .split("\n")
      .slice(0, -1)
      .map((line) => v.parse(LineSchema, JSON.parse(line)));
  }

  /** Waits for lines; a keeper that ends writes no more. */
  async until(enough: (lines: readonly Line[]) => boolean): Promise<void> {
    const ended = this.run.result.then(({ code, stderr }) => {
      throw new Error(`keep ended with ${code}: ${stderr}`);
    });
    const seen = vi.waitUntil(() => enough(this.lines), { timeout: 120_000, interval: 20 });
    await Promise.race([seen, ended]).catch((error: unknown) => {
      throw new Error(`After ${this.#text.slice(-2000)}`, { cause: error });
    });
  }
}

/** Audits it, and holds the page against what is said on stdout. @param missing what was attached and not described yet. */
async function expectPageOf(target: string, missing: string): Promise<void> {
  const path = host.path("audit.html");
  const { code, stdout, stderr } = await run("audit", target, "--report", path);
  expect({ code, stderr }).toEqual({ code: 1, stderr: `Wrote ${path}\n` });
  const { title, lead, sections } = await readReport(path);
  expect(title).toBe(`Audit of ${target}`);
  expect(lead.tone).toBe("bad");
  expect(stdout.replaceAll(/\s+/g, " ")).toContain(lead.text.replace(/^✗ inaccurate: /, "inaccurate "));
  expect(sections.get("Physical memory")?.missing).toBe(missing);
  expect(sections.get("Memory devices")?.rows.slice(1)).toEqual([
    ["dimm0", "dimm", expect.stringMatching(/^0x[0-9a-f]+-0x[0-9a-f]+ /), "✗ missing from the header"],
  ]);
  expect(sections.get("The core header before and after")?.text).toContain("Nothing was written");
}

/** By libvirt's word, which follows an event of QEMU's: it may come a moment after QEMU has answered us. */
async function expectRunning(name: string): Promise<void> {
  await expect.poll(async () => await host.virsh("domstate", name), { timeout: 10_000 }).toBe("running");
}

/** Those that a test which fails has not ended. */
const keepers: CliRun[] = [];
afterEach(async () => {
  for (const keeper of keepers.splice(0)) {
    keeper.child.kill("SIGKILL");
    await keeper.result.catch(() => undefined);
  }
});

const isAccurate = (lines: readonly Line[]): boolean =>
  lines.findLast(({ event }) => event === "verdict")?.audit?.verdict === "accurate";
const installsOfMemory = (lines: readonly Line[]): readonly Line[] =>
  lines.filter(({ event, before }) => event === "installed" && before!.memory.missing.length > 0);

describe.skipIf(!lab)("a domain with shared RAM", () => {
  it("is kept while libvirt attaches memory, and its dump is complete", async () => {
    await using guest = await bootLoaded({ name: "it's kept", shared: true });
    const { agent } = guest;
    const target = `libvirt:${guest.name}`;
    expect(await listRunningDomains(undefined, { env: env() })).toEqual([guest.name]);
    const keep = new Keeping(target);
    await keep.until(isAccurate);

    await guest.attachDimm(256);
    await keep.until((all) => installsOfMemory(all).length === 1);
    await guest.attachDimm(256);
    await keep.until((all) => installsOfMemory(all).length === 2);
    await keep.until(isAccurate);
    // libvirt has followed our stop and start: it knows no other state than QEMU.
    await expectRunning(guest.name);
    expect(await host.virsh("domstate", guest.name, "--reason")).toBe("running (unpaused)");

    // Anybody may look meanwhile, for libvirt shares the monitor out; but one keeper at a time, whichever way it came.
    expect((await run("audit", target)).code).toBe(0);
    for (const other of [target, `qmp:${host.path(`${guest.name}.qmp`)}`]) {
      const refused = await run("keep", "--once", other);
      expectOneSentence(refused, 3);
      expect(refused.stderr).toContain(
        `Another kdump-hotplug (process ${keep.run.pid}) is at work on this guest`,
      );
    }
    keep.run.child.kill("SIGINT");
    const { code, stderr } = await keep.run.result;
    expect({ code, stderr }).toEqual({ code: 130, stderr: "" });
    expect(keep.lines.filter(({ event }) => event === "failed")).toEqual([]);
    const installs = installsOfMemory(keep.lines);
    for (const { reactionMs, installed } of installs)
      console.log(`pause ${installed?.pauseMicroseconds} us, ${reactionMs} ms after the change was seen`);

    await using machine = await openLibvirtMachine(guest.name, { env: env() });
    expect(machine.memory.access).toBe("shared-file");
    const dimms = await dimmsOf(machine);
    expect(dimms.bytes).toBe(512n << 20n);
    await waitUntilOnline(agent, dimms.ranges);
    await fillMemory(agent, 480);
    const online = await onlineMemory(agent);
    expect(dimms.subtract(online)).toEqual(RangeSet.empty);
    expect(await panic(guest)).toBe(true);
    const vmcore = await readVmcore(agent);
    expect(online.subtract(vmcore!.described)).toEqual(RangeSet.empty);
    for (const range of dimms.ranges) {
      const pages = await comparePages(agent, machine.memory, vmcore!, range, seededRandom(20201214));
      expect(pages).toMatchObject({ equal: pages.sampled, different: 0 });
      expect(pages.nonZero).toBeGreaterThan(pages.sampled / 2);
    }
    await agent.finish("capture");
    await expect.poll(async () => await host.virsh("list", "--name"), { timeout: 20_000 }).toBe("");
  });

  it("gets memory and CPUs by libvirt's own commands, which know of them, and gives them up", async () => {
    await using guest = await bootLoaded({ name: "plugged", shared: true });
    const target = `libvirt:${guest.name}`;
    const dimm = await run("plug", target, "--memory", "128M");
    expect.soft(dimm.stderr).toBe("");
    expect(dimm.code).toBe(0);
    expect(await host.virsh("dumpxml", guest.name)).toMatch(/<memory model='dimm'.*<alias name='dimm0'\/>/s);
    const cpu = await run("plug", target, "--cpus", "1");
    expect.soft(cpu.stderr).toBe("");
    expect(cpu.code).toBe(0);
    expect(await host.virsh("vcpucount", guest.name, "--live", "--current")).toBe("3");
    expect((await run("audit", target)).code).toBe(0);

    await using machine = await openLibvirtMachine(guest.name, { env: env() });
    await waitUntilOnline(guest.agent, (await dimmsOf(machine)).ranges);
    const removed = await run("unplug", target, "dimm0", "vcpu2");
    expect.soft(removed.stderr).toBe("");
    expect(removed.code).toBe(0);
    expect(removed.stdout).not.toContain("left");
    expect(await host.virsh("dumpxml", guest.name)).not.toContain("<memory model='dimm'");
    expect((await run("audit", target)).code).toBe(0);

    // What an operator has paused stays paused, and libvirt says so.
    await guest.attachDimm(128);
    await host.virsh("suspend", guest.name);
    expect((await run("keep", "--once", target)).code).toBe(0);
    expect(await host.virsh("domstate", guest.name, "--reason")).toBe("paused (user)");
    await host.virsh("resume", guest.name);

    const tooMuch = await run("plug", target, "--memory", "64G");
    expectOneSentence(tooMuch, 1);
    expect(tooMuch.stderr).toMatch(/Cannot plug a DIMM of 68719476736 bytes: libvirt says ".*exceed/);
    await expectRunning(guest.name);
  });

  it("goes on where libvirtd ends and is started again, and can be kept again", async () => {
    await using guest = await bootLoaded({ name: "restarted", shared: true });
    const target = `libvirt:${guest.name}`;
    const keep = new Keeping(target);
    await keep.until(isAccurate);
    await host.killDaemon();
    await exitOf(keep.run);
    expectOneSentence(await run("audit", target), 3);
    await host.startDaemon();
    // Where it was in a pause, the process that sees to it ends later.
    expect(await keep.run.result).toMatchObject({ code: 128, stderr: expect.stringMatching(/^\S.+\n/) });
    await expectRunning(guest.name);
    await guest.attachDimm(128);
    await expectPageOf(target, "128 MiB");
    const again = await run("keep", "--once", target);
    expect.soft(again.stderr).toBe("");
    expect(again.code).toBe(0);
    expect(again.stdout).toContain("installed");
    await expectRunning(guest.name);
  });

  it("is made to run again where libvirtd is killed in a pause of ours, and back after we have given up", async () => {
    await using guest = await bootLoaded({ name: "given up", shared: true });
    await using qmp = await QmpClient.connect(host.path(`${guest.name}.qmp`));
    await guest.attachDimm(128);
    const stopped = qmp.waitForEvent("STOP", { timeoutMs: 60_000 });
    const keep = start("keep", "--once", `libvirt:${guest.name}`);
    keepers.push(keep);
    await stopped;
    await host.killDaemon();
    await exitOf(keep);
    expect(await qmp.execute("query-status")).toMatchObject({ status: "paused" });
    await host.startDaemon();
    const { code, stderr } = await keep.result;
    expect(code).toBe(128);
    expect(stderr).toContain('it could not be resumed, "virsh resume given up" does so once libvirt answers');
    expect(stderr).toMatch(
      /\nProcess \d+ lost its connection while libvirt:given up stood still for it; the guest runs again\n$/,
    );
    expect(await qmp.execute("query-status")).toMatchObject({ status: "running" });
    await expectRunning(guest.name);
    expect(await guest.agent.output("echo alive")).toBe("alive\n");
  });

  it("runs again when libvirtd is killed in a pause of ours, once it is back", async () => {
    await using guest = await bootLoaded({ name: "paused", shared: true });
    await using machine = await openLibvirtMachine(guest.name, { env: env() });
    const pause = machine.paused(async () => {
      expect(await host.virsh("domstate", guest.name)).toBe("paused");
      await host.killDaemon();
      setTimeout(() => void host.startDaemon(), 500);
    });
    await expect(pause).rejects.toMatchObject({ machineLost: true });
    await vi.waitUntil(async () => await host.virsh("domstate", guest.name).catch(() => ""), {
      timeout: 10_000,
    });
    await expectRunning(guest.name);
    expect(await guest.agent.output("echo alive")).toBe("alive\n");
  });
});

describe.skipIf(!lab)("a keeper that is killed in a pause", () => {
  it("leaves a domain that runs again, by its own libvirt's word", async () => {
    await using guest = await bootLoaded({ name: "orphaned", shared: true });
    await using machine = await openLibvirtMachine(guest.name, { env: env() });
    const pauses: { readonly event: string; readonly ms: number }[] = [];
    machine.guest.qmp.onEvent(({ event, timestamp: { seconds, microseconds } }) => {
      if (event === "STOP" || event === "RESUME")
        pauses.push({ event, ms: seconds * 1000 + microseconds / 1000 });
    });
    const { signal, stderr } = await killedInPause(guest.name);
    expect(signal).toBe("SIGKILL");
    expect(stderr).toMatch(
      /^Process \d+ ended while libvirt:orphaned stood still for it; the guest runs again\n$/,
    );
    await expectRunning(guest.name);
    await vi.waitUntil(() => pauses.length === 2, { timeout: 10_000 });
    const [stop, resume] = pauses;
    expect([stop!.event, resume!.event]).toEqual(["STOP", "RESUME"]);
    console.log(`stood still for ${(resume!.ms - stop!.ms).toFixed(0)} ms`);
    // 0.19 s on a quiet host (asked: a second): two virsh processes, which a busy one takes longer to start.
    expect(resume!.ms - stop!.ms).toBeLessThan(2000);
    expect(await guest.agent.output("echo alive")).toBe("alive\n");
  });
});

const DIST = fileURLToPath(new URL("../../dist", import.meta.url));

/** A process that pauses the domain and is killed then. @returns when the watcher has ended too. */
async function killedInPause(
  domain: string,
): Promise<{ readonly signal: string | null; readonly stderr: string }> {
  const script = `
    const { openLibvirtMachine } = await import(${JSON.stringify(`${DIST}/targets/libvirt/machine.js`)});
    const { PauseWatcher } = await import(${JSON.stringify(`${DIST}/targets/qemu/pause-watcher.js`)});
    const pauseWitness = new PauseWatcher({ say: console.error });
    const machine = await openLibvirtMachine(${JSON.stringify(domain)}, { alone: true, pauseWitness });
    await machine.paused(async () => {
      process.kill(process.pid, "SIGKILL");
      await new Promise(() => {});
    });
  `;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "ignore", "pipe"],
    env: env(),
  });
  let stderr = "";
  child.stderr.on("data", (bytes: Buffer) => (stderr += bytes.toString()));
  return await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (_code, signal) => resolve({ signal, stderr }));
  });
}

describe.skipIf(!lab)("a domain with private RAM", () => {
  it("is corrected all the same", async () => {
    await using guest = await bootLoaded({ name: "private", shared: false });
    const target = `libvirt:${guest.name}`;
    await guest.attachDimm(256);
    const kept = await run("keep", "--once", target);
    expect.soft(kept.stderr).toBe("");
    expect(kept.code).toBe(0);
    expect(kept.stdout).toContain("installed");
    expect((await run("audit", target)).code).toBe(0);
    await expectRunning(guest.name);
  });
});

describe.skipIf(!lab)("what libvirt has not", () => {
  it("is named, with what to do", async () => {
    const absent = await run("audit", "libvirt:nobody's");
    expectOneSentence(absent, 2);
    expect(absent.stderr).toContain('libvirt has no domain "nobody\'s"');
    await host.virsh("define", await host.define({ name: "asleep", shared: true }));
    const asleep = await run("audit", "libvirt:asleep");
    expectOneSentence(asleep, 2);
    expect(asleep.stderr).toContain('Domain "asleep" does not run');
    await host.virsh("undefine", "asleep");
    expectOneSentence(await run("audit", "libvirt:*"), 2);
  });
});
