/** One trial: a ready guest, a way of keeping kdump, changes and a panic as planned, and a look at the dump. */
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import * as v from "valibot";
import { encodeCoreHeader } from "../../elfcore/encode.ts";
import { PAGE_SIZE } from "../../image/bytes.ts";
import { RangeSet } from "../../layout/range-set.ts";
import { seededRandom } from "../../simulation/random.ts";
import { QemuGuest } from "../../targets/qemu/guest.ts";
import { LostGuestError, MeasurementError } from "../errors.ts";
import { comparePages, type PageEvidence, readVmcore, samplePages } from "../evidence.ts";
import { awaitCapture } from "../guest-actions.ts";
import type { OutsideInstall } from "../outside-keeper.ts";
import { hostNow } from "../window/poller.ts";
import type { ReadyGuest } from "./guests.ts";
import { cpuEvidence, onlineCpus, untilCpuGone, untilCpuOnline } from "./cpus.ts";
import { type Cause, causeOf, type CpuEvidence, type Judged, judgeTrial, type LastState } from "./outcome.ts";
import type { TrialPlan } from "./plan.ts";
import { readFileAt } from "./ram-file.ts";
import { onlineSections } from "./sections.ts";
import { memoryDevices, removeDimm, untilAllOnline } from "./settle.ts";
import { type Keeping, type KeepingWay, startKeeping, type TrialDimm } from "./ways.ts";

/** Pages of each DIMM that are compared: the first, the last, and others between. */
const PAGES = 16;
/** Two guests on two cores take 5 to 12 s to the capture kernel's shell. */
const CAPTURE_TIMEOUT_MS = 60_000;
/** A change that QEMU was told of before the panic has an answer by then. */
const STEPS_TIMEOUT_MS = 20_000;

/** What was done when, milliseconds of the trial's clock. */
export interface DoneStep {
  readonly what: string;
  /** When it was begun, and when QEMU had answered. */
  readonly at: number;
  readonly done: number;
}

/** What one trial gave. */
export interface TrialResult extends Judged {
  readonly cause: Cause | undefined;
  readonly steps: readonly DoneStep[];
  /** Removals that QEMU was asked for before the panic, and DIMMs that were gone by then. */
  readonly removals: { readonly asked: number; readonly gone: number };
  /** When QEMU was told to inject the NMI. */
  readonly panickedAt: number;
  /** Online when the first kernel died, boot memory included. */
  readonly online: RangeSet;
  readonly pages: readonly PageEvidence[];
  /** Of a plan with a CPU. */
  readonly cpus: CpuEvidence | undefined;
  readonly installs: readonly OutsideInstall[];
  /** What the keeper, or a step, ended with; the dump is judged all the same. */
  readonly errors: readonly string[];
  /** The first kernel's own state when it died. */
  readonly state: LastState;
  /** The header that the first kernel's image had at its old place, after the panic. */
  readonly headerAfter: Uint8Array;
  /** The header of /proc/vmcore. */
  readonly dumpHeader: Uint8Array | undefined;
}

/**
 * Runs one trial.
 *
 * @throws {LostGuestError} where the guest was lost before the panic, or QEMU failed: then nothing is known of kdump.
 */
export async function runTrial(ready: ReadyGuest, plan: TrialPlan, way: KeepingWay): Promise<TrialResult> {
  const { guest, facts } = ready;
  await using lab = await QemuGuest.open(guest.labQmpPath);
  const keeping = await startKeeping(way, guest, lab);
  const dimms: TrialDimm[] = [];
  const steps: DoneStep[] = [];
  const errors: string[] = [];
  let stopped: Awaited<ReturnType<Keeping["stop"]>> | undefined;
  try {
    const deleted: string[] = [];
    lab.qmp.onEvent(({ event, data }) => {
      if (event === "DEVICE_DELETED" && v.is(DeviceSchema, data)) deleted.push(data.device);
    });
    const cpu: TrialCpu = { id: undefined, online: Promise.resolve() };
    const start = hostNow();
    const panicked = new AbortController();
    const changing = makeChanges({
      plan,
      keeping,
      start,
      dimms,
      steps,
      errors,
      panicked: panicked.signal,
      lab,
      ready,
      cpu,
    });
    if (plan.panic.settled) {
      await changing;
      await untilAllOnline(lab, facts.sections);
      await keeping.rest();
      await delay(plan.panic.atMs);
    } else await untilTime(start + plan.panic.atMs);
    if (guest.ended) throw new LostGuestError("QEMU has ended before the panic");
    panicked.abort();
    // One that is there and was never online ends QEMU at a panic.
    await cpu.online;
    const gone = deleted.filter((id) => id !== cpu.id).length;
    const removals = { asked: steps.filter(({ what }) => what.startsWith("unplug ")).length, gone };
    const panickedAt = hostNow() - start;
    await lab.qmp.execute("inject-nmi");
    const captured = await awaitCapture(guest, CAPTURE_TIMEOUT_MS);
    await Promise.race([changing, delay(STEPS_TIMEOUT_MS, undefined, { ref: false })]);
    stopped = await keeping.stop();
    const state = await stateOf(ready);
    const headerAfter = await readRam(ready, facts.header.address, facts.header.capacity);

    const vmcore = captured ? await readVmcore(guest.agent) : undefined;
    const cpus = vmcore && (await cpuEvidence(ready, plan));
    let [online, backed] = [facts.online, facts.described];
    const pages: PageEvidence[] = [];
    if (captured) {
      await lab.memory.refresh();
      // QEMU's word for what is there: a plug that was under way at the panic may not have told us.
      const devices = await memoryDevices(lab);
      const added = await onlineSections(lab.memory, facts.sections, devices.union(RangeSet.of(dimms)));
      online = online.union(added);
      backed = backed.union(devices);
      const random = seededRandom(plan.seed);
      for (const range of vmcore && plan.pages ? added : []) {
        const seed = Math.floor(random() * 2 ** 32);
        await scribble(lab, range, seed);
        pages.push(await comparePages(guest.agent, lab.memory, vmcore!, range, seededRandom(seed), PAGES));
      }
    }
    const { described } = vmcore ?? {};
    const cause = captured ? undefined : causeOf(state);
    return {
      ...judgeTrial({ captured, described, online, backed, cause, pages, cpus }),
      cause,
      steps,
      removals,
      panickedAt,
      online,
      pages,
      cpus,
      installs: stopped.installs.map((install) => ({ ...install, at: install.at - start })),
      errors: [...errors, ...stopped.errors],
      state,
      headerAfter,
      dumpHeader: vmcore && encodeCoreHeader(vmcore.header),
    };
  } finally {
    if (!stopped) await keeping.stop().catch(() => undefined);
  }
}

/** QEMU tells of a device twice: with its id, and with its path alone. */
const DeviceSchema = v.object({ device: v.string() });

interface Changes {
  readonly plan: TrialPlan;
  readonly keeping: Keeping;
  readonly start: number;
  readonly dimms: TrialDimm[];
  readonly steps: DoneStep[];
  readonly errors: string[];
  readonly panicked: AbortSignal;
  readonly lab: QemuGuest;
  readonly ready: ReadyGuest;
  readonly cpu: TrialCpu;
}

/** The CPU that a trial adds. */
interface TrialCpu {
  id: string | undefined;
  /** Settled once it is online, or was not added; rejects where the guest does not bring it online. */
  online: Promise<void>;
}

/** One step after the other; none is begun once the guest panics. */
async function makeChanges(changes: Changes): Promise<void> {
  const { plan, keeping, start, dimms, steps, errors, panicked, lab, ready, cpu } = changes;
  const { sections } = ready.facts;
  const unplug = async (id: string): Promise<void> => {
    const remove = async (): Promise<void> => await keeping.unplug(id);
    if (!plan.panic.settled) return await remove();
    await untilAllOnline(lab, sections);
    await removeDimm(lab, remove, id);
  };
  for (const step of plan.steps) {
    await untilTime(start + step.atMs, panicked);
    if (panicked.aborted) return;
    const at = hostNow() - start;
    let what: string = step.kind;
    try {
      if (step.kind === "plug") {
        const dimm = await keeping.plug(step.sizeMiB);
        dimms.push(dimm);
        what = `plug ${dimm.id} ${RangeSet.of([dimm]).toString()}`;
      } else if (step.kind === "plug-cpu") {
        const before = await onlineCpus(ready);
        if (panicked.aborted) return;
        const plugged = plugOneCpu(keeping, ready);
        cpu.online = plugged.then(
          async () => await untilCpuOnline(ready, before + 1),
          () => undefined,
        );
        // Whoever waits for it is told.
        cpu.online.catch(() => undefined);
        cpu.id = await plugged;
        what = `plug-cpu ${cpu.id}`;
        if (plan.panic.settled) await cpu.online;
      } else if (step.kind === "unplug-cpu") {
        if (cpu.id === undefined) continue;
        what = `unplug-cpu ${cpu.id}`;
        await cpu.online;
        const left = plan.panic.settled ? (await onlineCpus(ready)) - 1 : undefined;
        await keeping.unplug(cpu.id);
        if (left !== undefined) await untilCpuGone(ready, left);
      } else {
        const { id } = dimms[step.dimm]!;
        what = `unplug ${id}`;
        await unplug(id);
      }
    } catch (error) {
      errors.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
    }
    steps.push({ what, at, done: hostNow() - start });
  }
}

async function plugOneCpu(keeping: Keeping, { facts }: ReadyGuest): Promise<string> {
  if (!facts.takesCpus) throw new MeasurementError(`Linux ${facts.release} takes no more CPUs here`);
  return await keeping.plugCpu();
}

/** Waits until the host's clock shows `at`, or `signal` aborts. */
async function untilTime(at: number, signal?: AbortSignal): Promise<void> {
  const left = at - hostNow();
  if (left > 0) await delay(left, undefined, { signal }).catch(() => undefined);
}

/**
 * Gives the pages that will be compared bytes of their own, from outside, in the memory of the kernel that is dead:
 * nobody uses it but who reads the dump, and memory that was never written is zero and proves nothing.
 */
async function scribble(
  lab: QemuGuest,
  range: { readonly start: bigint; readonly end: bigint },
  seed: number,
): Promise<void> {
  for (const address of samplePages(range, PAGES, seededRandom(seed)))
    await lab.memory.write(address, randomBytes(PAGE_SIZE));
}

/** Read from the RAM file, so that it can be had when QEMU has ended. */
async function stateOf(ready: ReadyGuest): Promise<LastState> {
  const { imagePointer, lock, lockKind, cpuNotes } = ready.facts;
  const image = await readFileAt(ready.ramFile, imagePointer, 8);
  const held = await readFileAt(ready.ramFile, lock, 8);
  // The lowest three bits of a mutex's owner are flags (kernel/locking/mutex.c).
  const locked = lockKind === "mutex" ? held.readBigUInt64LE() > 7n : held.readUInt32LE() !== 0;
  const notes = await Promise.all(cpuNotes.map(async (note) => await readFileAt(ready.ramFile, note, 4)));
  const saved = notes.some((note) => note.readUInt32LE() !== 0);
  return { image: image.readBigUInt64LE() !== 0n, locked, saved };
}

/** Boot RAM of a guest that has less than the hole below 4 GiB lies in its file as in its address space. */
async function readRam(ready: ReadyGuest, address: bigint, length: number): Promise<Uint8Array> {
  return new Uint8Array(await readFileAt(ready.ramFile, Number(address), length));
}
