/** CPUs added to a real guest after the capture kernel was loaded: whose registers a panic on one of them leaves. */
import { afterAll, describe, expect, test, vi } from "vitest";
import { cpuNotes, KERNEL_MAP_START } from "../../src/elfcore/kinds.ts";
import { auditMachine } from "../../src/keeper/audit.ts";
import { Keeper } from "../../src/keeper/keeper.ts";
import type { AgentChannel } from "../../src/lab/channel.ts";
import type { LabGuest } from "../../src/lab/guest.ts";
import { bringCpuOnline, type LoadCall, panic } from "../../src/lab/guest-actions.ts";
import { parseHotpluggableCpus } from "../../src/layout/qmp.ts";
import { plugCpu as plugCpuOf } from "../../src/targets/qemu/plug.ts";
import { QemuGuest } from "../../src/targets/qemu/guest.ts";
import { QemuMachine } from "../../src/targets/qemu/machine.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { cliJson } from "./cli.ts";
import { type DumpedCpu, readDumpedCpus } from "../../src/lab/dumped-cpus.ts";
import { type Lab, openLab } from "./lab.ts";

/** On 6.12 no CPU can be added under TCG. */
const SERIES = ["5.10", "6.1"] as const;
const BOOT_CPUS = 2;
const POSSIBLE = 8;

const labs = new Map<string, Lab>();
for (const series of [...SERIES, "6.12"]) {
  const lab = await openLab(`CPUs on Linux ${series}`, series);
  if (lab) labs.set(series, lab);
}
afterAll(async () => {
  for (const lab of labs.values()) await lab.close();
});

/** Somebody else adds a CPU: the lab, by a QMP connection of its own. */
async function addCpu(guest: LabGuest): Promise<void> {
  await using other = await QemuGuest.open(guest.labQmpPath);
  await plugCpuOf(other.qmp);
}

/** Panics on CPU `cpu`. @returns the pid that panicked, and the CPUs of the dump. */
async function panicOn(
  guest: LabGuest,
  cpu: number,
): Promise<{ readonly pid: number; readonly cpus: readonly DumpedCpu[] }> {
  const mask = (1 << cpu).toString(16);
  const wait = "until [ -e /tmp/go ]; do sleep 0.1; done; echo c > /proc/sysrq-trigger";
  const pid = Number(
    await guest.agent.output(`taskset ${mask} sh -c '${wait}' >/dev/null 2>&1 </dev/null & echo $!`),
  );
  expect(pid).toBeGreaterThan(1);
  expect(await panic(guest, "touch /tmp/go")).toBe(true);
  const cpus = await readDumpedCpus(guest.agent);
  await guest.agent.finish("capture");
  return { pid, cpus: cpus! };
}

/** The kernel's own word on where the notes of the CPUs that are present lie. */
async function notesInSysfs(agent: AgentChannel): Promise<readonly bigint[]> {
  const text = await agent.output("cat /sys/devices/system/cpu/cpu[0-9]*/crash_notes");
  return text
    .trim()
    .split("\n")
    .map((line) => BigInt(`0x${line}`));
}

const CASES = [
  { series: "5.10", load: "kexec_file_load" },
  { series: "6.1", load: "kexec_file_load" },
  { series: "6.1", load: "kexec_load" },
] as const satisfies readonly { readonly series: string; readonly load: LoadCall }[];

describe.each(CASES)("Linux $series loaded by $load", ({ series, load }) => {
  describe.skipIf(!labs.has(series))("with a CPU that somebody adds", () => {
    test("without us a dump lacks the registers of the CPU that panicked", async () => {
      await using guest = await labs.get(series)!.bootLoaded({ load });
      await addCpu(guest);
      await bringCpuOnline(guest.agent, BOOT_CPUS);
      const { pid, cpus } = await panicOn(guest, BOOT_CPUS);
      expect(cpus).toHaveLength(BOOT_CPUS);
      expect(cpus.map((cpu) => cpu.pid)).not.toContain(pid);
    });

    test("with us the dump has them, and no more CPUs than were there", async () => {
      await using guest = await labs.get(series)!.bootLoaded({ load });
      await addCpu(guest);
      await bringCpuOnline(guest.agent, BOOT_CPUS);
      expect(await expectKept(guest)).toHaveLength(POSSIBLE);
      const { pid, cpus } = await panicOn(guest, BOOT_CPUS);
      expectPanicked(cpus, pid);
    });
  });
});

describe.skipIf(!labs.has("6.1"))("Linux 6.1", () => {
  test("with two NUMA nodes, whose CPUs alternate, has the right notes", async () => {
    await using guest = await labs.get("6.1")!.bootLoaded({ nodes: 2 });
    await addCpu(guest);
    await bringCpuOnline(guest.agent, BOOT_CPUS);
    const notes = await expectKept(guest);
    const distances = notes.slice(1).map((note, i) => note - notes[i]!);
    console.log(`Distances of the notes: ${distances.map((distance) => distance.toString(16)).join(", ")}`);
    expect(new Set(distances).size).toBeGreaterThan(1);
    const { pid, cpus } = await panicOn(guest, BOOT_CPUS);
    expectPanicked(cpus, pid);
  });

  test("with one CPU at the load has the right notes of those that come", async () => {
    await using guest = await labs.get("6.1")!.bootLoaded({ cpus: 1 });
    await using machine = await QemuMachine.open(guest.qmpPath);
    const { after } = await new Keeper(machine, nodeSha256).reconcile();
    expect(after.cpus).toMatchObject({ present: 1, described: POSSIBLE, undescribed: [] });
    await addCpu(guest);
    await addCpu(guest);
    await bringCpuOnline(guest.agent, 1);
    await bringCpuOnline(guest.agent, 2);
    const notes = cpuNotes(after.image!.header).map(({ p_paddr }) => p_paddr);
    expect(await notesInSysfs(guest.agent)).toEqual(notes.slice(0, 3));
  });

  test("gets a CPU from us, header first, and is told as full when it has all", async () => {
    await using guest = await labs.get("6.1")!.bootLoaded();
    const target = `qmp:${guest.qmpPath}`;
    const plugged = await cliJson("plug", target, "--cpus", "1");
    expect.soft(plugged.code, plugged.stderr).toBe(0);
    expect(plugged.json).toMatchObject({
      plugged: [{ id: "kdh-cpu0", kind: "cpu", described: true }],
      after: { verdict: "accurate", cpus: { present: 3, described: POSSIBLE, undescribed: [] } },
    });
    await bringCpuOnline(guest.agent, BOOT_CPUS);
    const rest = await cliJson("plug", target, "--cpus", String(POSSIBLE - BOOT_CPUS));
    expect(rest.code).toBe(2);
    expect(rest.stderr).toContain("8 CPUs are present, and the guest's kernel takes 8 at most");
    expect(rest.json["plugged"]).toHaveLength(POSSIBLE - BOOT_CPUS - 1);
    // All of them: a CPU that is there and was never online ends QEMU at a panic, under TCG and with or without us.
    for (let cpu = BOOT_CPUS + 1; cpu < POSSIBLE; cpu++) await bringCpuOnline(guest.agent, cpu);
    const { pid, cpus } = await panicOn(guest, POSSIBLE - 1);
    expectPanicked(cpus, pid, POSSIBLE);
  });
});

describe.each(["5.10", "6.1"] as const)("Linux %s", (series) => {
  test.skipIf(!labs.has(series))(
    "gives a CPU up, keeps its note, and dumps those that are left",
    async () => {
      await using guest = await labs.get(series)!.bootLoaded();
      await using others = await QemuGuest.open(guest.labQmpPath);
      const said: string[] = [];
      others.qmp.onEvent(({ event, data }) => said.push(`${event} ${JSON.stringify(data)}`));
      const target = `qmp:${guest.qmpPath}`;
      expect((await cliJson("plug", target, "--cpus", "2")).code).toBe(0);
      await bringCpuOnline(guest.agent, BOOT_CPUS);
      await bringCpuOnline(guest.agent, BOOT_CPUS + 1);

      const fixed = await cliJson("unplug", target, "/machine/unattached/device[0]");
      expect(fixed).toMatchObject({
        code: 1,
        json: {
          devices: [{ kind: "cpu", outcome: "refused", reason: expect.stringContaining("it has no id") }],
          after: { cpus: { present: BOOT_CPUS + 2 } },
        },
      });
      // No guest is that quick: it goes after we have stopped listening.
      const impatient = await cliJson("unplug", target, "kdh-cpu1", "--wait", "0.001");
      expect(impatient).toMatchObject({ code: 3, json: { devices: [{ outcome: "pending" }] } });
      await vi.waitUntil(async () => (await presentCpus(others)) === BOOT_CPUS + 1, { timeout: 30_000 });
      const removed = await cliJson("unplug", target, "kdh-cpu0");
      console.log(`${series}: ${said.join("; ")}\n${removed.stderr}`);
      expect(removed).toMatchObject({
        code: 0,
        json: {
          devices: [{ name: "kdh-cpu0", kind: "cpu", outcome: "removed", reason: "" }],
          after: { verdict: "accurate", cpus: { present: BOOT_CPUS, described: POSSIBLE } },
        },
      });
      expect(await guest.agent.output("cat /sys/devices/system/cpu/present")).toBe("0-1\n");

      // It comes again under its number, and its note is where it was.
      expect((await cliJson("plug", target, "--cpus", "1")).code).toBe(0);
      await bringCpuOnline(guest.agent, BOOT_CPUS);
      const { pid, cpus } = await panicOn(guest, BOOT_CPUS);
      expectPanicked(cpus, pid);
    },
  );
});

describe.skipIf(!labs.has("6.12"))("Linux 6.12", () => {
  test("lists all possible CPUs itself, and nothing is written", async () => {
    await using guest = await labs.get("6.12")!.bootLoaded();
    await using machine = await QemuMachine.open(guest.qmpPath);
    const { before, installed } = await new Keeper(machine, nodeSha256).reconcile();
    expect(before.verdict).toBe("accurate");
    expect(before.cpus.undescribed).toEqual([]);
    expect(before.cpus.possible).toBe(before.cpus.described);
    expect(installed).toBeUndefined();
  });
});

async function presentCpus(others: QemuGuest): Promise<number> {
  return parseHotpluggableCpus(await others.hotpluggableCpus()).filter(({ present }) => present).length;
}

/** Has `keep --once` done, and checks every note against the kernel's own word; gives those in the header. */
async function expectKept(guest: LabGuest): Promise<readonly bigint[]> {
  const before = await cliJson("audit", `qmp:${guest.qmpPath}`);
  expect(before.code).toBe(1);
  expect(before.json).toMatchObject({
    verdict: "inaccurate",
    cpus: { present: 3, described: BOOT_CPUS, possible: POSSIBLE },
  });
  const kept = await cliJson("keep", "--once", `qmp:${guest.qmpPath}`);
  expect.soft(kept.code, kept.stderr).toBe(0);
  expect(kept.json).toMatchObject({
    verdict: "accurate",
    cpus: { present: 3, described: POSSIBLE, missing: [], undescribed: [] },
  });
  await using machine = await QemuMachine.open(guest.qmpPath);
  const { image } = await auditMachine(machine, nodeSha256);
  const notes = cpuNotes(image!.header).map(({ p_paddr }) => p_paddr);
  const present = await notesInSysfs(guest.agent);
  expect(present).toHaveLength(BOOT_CPUS + 1);
  expect(notes.slice(0, present.length)).toEqual(present);
  return notes;
}

/** The CPU that was added last is in the dump, in its place, with the process that panicked on it. */
function expectPanicked(cpus: readonly DumpedCpu[], pid: number, count = BOOT_CPUS + 1): void {
  expect(cpus).toHaveLength(count);
  expect(cpus.at(-1)!.pid).toBe(pid);
  expect(cpus.at(-1)!.rip).toBeGreaterThanOrEqual(KERNEL_MAP_START);
}
