/**
 * Our rules engine against `udevadm test` of systemd 247, 252 and 257, on real memory blocks and CPUs: every policy,
 * the distribution's rules that bring memory online beside it, and each of the recordings' rules.
 *
 * Up to 252 the test mode runs PROGRAM and writes attributes, so that the machine's state is compared too. 257's runs
 * none but udev's own probes, takes every other program for one that succeeded and printed nothing, and logs what it
 * would have written.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { KERNEL_SUITES, type KernelSeries } from "../../src/lab/fetch/kernel.ts";
import type { LabGuest } from "../../src/lab/guest.ts";
import { loadCaptureKernel, writeGuestFiles } from "../../src/lab/guest-actions.ts";
import { cpu as makeCpu, type KernelSpec, memoryBlock } from "../../src/rules/device.ts";
import type { SystemdVersion } from "../../src/rules/dialect.ts";
import type { RuleSource } from "../../src/rules/source.ts";
import { QemuGuest } from "../../src/targets/qemu/guest.ts";
import { askable } from "./askable.ts";
import { type Lab, openLab } from "./lab.ts";
import { type FileTree, sysfsDevice } from "./sysfs-device.ts";
import { evaluated, said } from "./udevadm-compared.ts";
import { type CaseResults, runCases, type TestCase, type TestResult } from "./udevadm-guest.ts";
import { IMPORTED, IMPORTED_PATH } from "./udevadm-rules.ts";
import { READS_WHAT_IT_WROTE, type Subject, SUBJECTS } from "./udevadm-subjects.ts";

const VERSIONS = [
  { version: 247, series: "5.10" },
  { version: 252, series: "6.1" },
  { version: 257, series: "6.12" },
] as const satisfies readonly { version: SystemdVersion; series: KernelSeries }[];

const labs = new Map<SystemdVersion, Lab>();
for (const { version, series } of VERSIONS) {
  const lab = await openLab(`udevadm test of systemd ${version}`, series, { udev: KERNEL_SUITES[series] });
  if (lab) labs.set(version, lab);
}
afterAll(async () => {
  for (const lab of labs.values()) await lab.close();
});

/** The recordings are of this one. */
const BLOCK = "/devices/system/memory/memory40";

/** Files that rules or programs ask for. */
const FILES = [
  "/sys/kernel/kexec_crash_loaded",
  "/etc",
  "/proc/cmdline",
  "/proc/sys/kernel/ostype",
  ...["memory/memory40", "memory/memory0", "cpu/cpu0"].map((path) => `/sys/devices/system/${path}`),
];

describe.each(VERSIONS)("systemd $version on Linux $series", ({ version }) => {
  const lab = labs.get(version);
  let guest: LabGuest | undefined;
  let cpu = "";
  const runs = new Map<Subject, readonly Ran[]>();

  beforeAll(async () => {
    if (!lab) return;
    guest = await lab.boot({ addedMemory: "offline", ram: "private" });
    const { agent } = guest;
    await using qemu = await QemuGuest.open(guest.labQmpPath);
    // Ten blocks of 128 MiB behind the first 4 GiB: 32 to 41.
    await qemu.plugDimm({ size: 1280n << 20n });
    cpu = await plugCpu(guest, qemu);
    await writeGuestFiles(agent, [
      { path: "/etc/passwd", mode: 0o644, text: "root:x:0:0::/:/bin/sh\n" },
      { path: IMPORTED_PATH, mode: 0o644, text: IMPORTED },
    ]);
    // With the others online, nothing of the kernel's own comes to lie in this one, and it can go offline again.
    const others = "/sys/devices/system/memory/memory3[2-9] /sys/devices/system/memory/memory41";
    await agent.output(`test -e /sys${BLOCK} && for block in ${others}; do echo online >$block/state; done`);
    for (const loaded of [false, true]) {
      if (loaded) await loadCaptureKernel(agent, { load: "kexec_file_load", acpiNoMemhotplug: true });
      for (const ran of await runSubjects(guest, loaded, [BLOCK, cpu]))
        runs.set(ran.subject, [...(runs.get(ran.subject) ?? []), ran]);
    }
    await agent.finish("guest");
  });
  afterAll(async () => await guest?.[Symbol.asyncDispose]());

  test.skipIf(!lab)("has the memory blocks and CPUs that we make for events", () => {
    const kernel: KernelSpec = { crashHotplug: version === 257 ? "1" : "absent" };
    const index = Number(/\d+$/.exec(cpu)?.[0]);
    for (const state of ["online", "offline"] as const) {
      const looks = [...runs.values()]
        .flat()
        .filter(({ subject, test: one }) => subject.loaded && one.state === state);
      const block = looks.find(({ test: one }) => one.devpath === BLOCK)!.look;
      expect(askable(memoryBlock(40, state, kernel), block)).toEqual(
        askable(sysfsDevice(block, BLOCK), block),
      );
      const { look } = looks.find(({ test: one }) => one.devpath === cpu)!;
      expect(askable(makeCpu(index, state, true, kernel), look)).toEqual(
        askable(sysfsDevice(look, cpu), look),
      );
      const first = "/devices/system/cpu/cpu0";
      expect(askable(makeCpu(0, "online", true, kernel), look)).toEqual(
        askable(sysfsDevice(look, first), look),
      );
    }
  });

  // 257's test mode writes no attribute, so there is none to read: what it says is not what a real event would be.
  const comparable = SUBJECTS.filter(({ name }) => version !== 257 || name !== READS_WHAT_IT_WROTE);
  test.skipIf(!lab).for(comparable)("says what we say: $name", (subject) => {
    const ran = runs.get(subject) ?? [];
    expect(ran.length).toBe(subject.events.length * 2);
    for (const one of ran) {
      const what = `${subject.name}, ${one.test.action} of ${one.test.devpath}`;
      const theirs = said(one.result, version);
      const virt = lab!.parts.accelerator.current === "kvm" ? "kvm" : "qemu";
      const ours = evaluated(one.test, { version, virt, look: one.look });
      expect
        .soft(ours, `${what}: expected is what systemd ${version} says. Its log:\n${one.result.stderr}`)
        .toEqual(theirs);
    }
  });
});

/**
 * The test mode finds SUBSYSTEM out where a rule first asks for it, and has it as a property from then on; in a real
 * event it is a property from the start. This file asks.
 */
const FIRST: RuleSource = { path: "00-first.rules", text: 'SUBSYSTEM=="none", ENV{.none}="1"\n' };

/** One case of a subject, and what came of it. */
interface Ran {
  readonly subject: Subject;
  readonly test: TestCase;
  readonly result: TestResult;
  /** The device and its surroundings before. */
  readonly look: FileTree;
}

async function runSubjects(
  guest: LabGuest,
  loaded: boolean,
  devpaths: readonly string[],
): Promise<readonly Ran[]> {
  const subjects = SUBJECTS.filter((subject) => subject.loaded === loaded).map((subject) => ({
    subject,
    rules: [FIRST, ...subject.rules],
  }));
  const lists = devpaths.map((devpath) =>
    subjects.flatMap(({ subject, rules }) => {
      const { answers, events } = subject;
      return events.map(([action, state]) => ({ subject, test: { rules, devpath, action, state, answers } }));
    }),
  );
  const cases = lists.map((list) => nonEmpty(list.map(({ test: one }) => one)));
  const found = await runCases(guest.agent, cases, FILES);
  return lists.flatMap((list, i) => {
    const { results, looks }: CaseResults = found[i]!;
    return list.map((one, j) => ({ ...one, result: results[j]!, look: looks[one.test.state] }));
  });
}

function nonEmpty<T>(list: readonly T[]): readonly [T, ...T[]] {
  const [first, ...others] = list;
  if (first === undefined) throw new TypeError("No cases");
  return [first, ...others];
}

/** A place for a CPU, as QEMU describes it. */
interface FreeCpu {
  readonly type: string;
  readonly props: Readonly<Record<string, number>>;
}

function isFree(slot: object): slot is FreeCpu {
  return !("qom-path" in slot);
}

/** Plugs a CPU. Where the kernel does not take it (6.12 on TCG), one that was there from the start serves. */
async function plugCpu({ agent }: LabGuest, qemu: QemuGuest): Promise<string> {
  const free: unknown = await qemu.hotpluggableCpus();
  const slot: FreeCpu | undefined = (Array.isArray(free) ? free : []).findLast(isFree);
  if (!slot) throw new TypeError("QEMU has no CPU to plug");
  await qemu.qmp.execute("device_add", { driver: slot.type, id: "cpu-new", ...slot.props });
  const { status } = await agent.run(
    "i=0; until [ -e /sys/devices/system/cpu/cpu2/online ]; do i=$((i+1)); [ $i -gt 20 ] && exit 1; sleep 0.1; done",
  );
  return `/devices/system/cpu/cpu${status === 0 ? 2 : 1}`;
}
