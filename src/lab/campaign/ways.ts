/** The ways of keeping kdump that a campaign compares: who does something when memory comes and goes. */
import { setTimeout as delay } from "node:timers/promises";
import { auditMachine } from "../../keeper/audit.ts";
import { Keeper } from "../../keeper/keeper.ts";
import type { PluggableMachine, RemovableDevice } from "../../keeper/machine.ts";
import { plugMemory } from "../../keeper/plug.ts";
import { plugCpu as plugCpuFirst } from "../../keeper/plug-cpu.ts";
import { devicesNamed, unplugMemory } from "../../keeper/unplug.ts";
import { unplugCpu } from "../../keeper/unplug-cpu.ts";
import { parseMemoryDevices } from "../../layout/qmp.ts";
import type { PhysicalRange } from "../../layout/range.ts";
import { RHEL7, RHEL8 } from "../../rules/policies/rhel.ts";
import type { RulePolicy } from "../../rules/policies/policy.ts";
import type { QemuGuest } from "../../targets/qemu/guest.ts";
import { QemuMachine } from "../../targets/qemu/machine.ts";
import { allocateDimm, plugCpu, plugDimm } from "../../targets/qemu/plug.ts";
import { nodeSha256 } from "../../targets/sha256.ts";
import { MeasurementError } from "../errors.ts";
import type { LabGuest } from "../guest.ts";
import { OutsideKeeper, type OutsideInstall } from "../outside-keeper.ts";
import { untilQuiet } from "../policies/play.ts";
import { hostNow } from "../window/poller.ts";

/** Far more than a reaction takes. */
const REST_MS = 1000;
/** A reload per event, each of 1.3 to 2.8 s, for every block that a trial adds. */
const RELOADS_TIMEOUT_MS = 180_000;
/** How long the guest may take for its answer to our own removal; longer than a trial lasts. */
const REMOVAL_TIMEOUT_MS = 30_000;

/** A way, as named on the command line. */
export type KeepingName = "nothing" | "in-place" | "plug" | "re-arm" | "reload" | "throttled" | "kernel";

/** What a way needs of a guest, and who plugs. */
export interface KeepingWay {
  readonly name: KeepingName;
  /** For people. */
  readonly title: string;
  /** What the guest's udevd does; without it the guest has no udevd. */
  readonly rules: RulePolicy | undefined;
  /** Whether the guest's own kernel rewrites the header (`crash_hotplug`); the others run where it does not, too. */
  readonly needsKernel: boolean;
  /** Whether our own agent runs in the guest. */
  readonly isInside: boolean;
}

const ALONE = { rules: undefined, needsKernel: false, isInside: false } as const;

/** Every way, in the order of a report. */
export const KEEPING_WAYS: readonly KeepingWay[] = [
  { ...ALONE, name: "nothing", title: "nobody keeps kdump up to date" },
  { ...ALONE, name: "reload", title: "udev reloads per event (RHEL 7)", rules: RHEL7 },
  { ...ALONE, name: "throttled", title: "udev reloads, throttled (RHEL 8)", rules: RHEL8 },
  { ...ALONE, name: "kernel", title: "the kernel itself (6.6+)", needsKernel: true },
  { ...ALONE, name: "re-arm", title: "we, from inside; somebody else plugs", isInside: true },
  { ...ALONE, name: "in-place", title: "we, from outside; somebody else plugs" },
  { ...ALONE, name: "plug", title: "we plug, header first" },
];

/** The way of that name. */
export function keepingWay(name: KeepingName): KeepingWay {
  return KEEPING_WAYS.find((way) => way.name === name)!;
}

/** A DIMM that a trial added. */
export interface TrialDimm extends PhysicalRange {
  readonly id: string;
}

/** A way at its work on one guest. */
export interface Keeping {
  /** Adds a DIMM, as this way has it added. */
  plug(sizeMiB: number): Promise<TrialDimm>;
  /** Adds a CPU, as this way has it added. @returns its id. */
  plugCpu(): Promise<string>;
  /** Asks the guest for a DIMM or a CPU, as this way does; that it agrees is not waited for. */
  unplug(id: string): Promise<void>;
  /** Waits until nothing is left to do, as far as that can be seen. */
  rest(): Promise<void>;
  /** Ends the work. @returns what was installed, and what went wrong. */
  stop(): Promise<{ readonly installs: readonly OutsideInstall[]; readonly errors: readonly string[] }>;
}

/**
 * Starts `way` on a guest that is ready.
 *
 * @param lab the lab's own connection: it is the somebody else who plugs.
 */
export async function startKeeping(way: KeepingWay, guest: LabGuest, lab: QemuGuest): Promise<Keeping> {
  switch (way.name) {
    case "in-place":
      return await watching(guest, lab);
    case "plug":
      return await plugging(guest, lab);
    case "re-arm":
      // The agent has been at work in the guest since before it was saved.
      return {
        ...byLab(lab),
        rest: async () => await untilAccurate(guest),
        stop: async () => ({ installs: [], errors: [] }),
      };
    default:
      return {
        ...byLab(lab),
        rest: async () => {
          if (way.rules) await untilQuiet(guest, performance.now() + RELOADS_TIMEOUT_MS);
        },
        stop: async () => ({ installs: [], errors: [] }),
      };
  }
}

/** DIMMs are memfds that we can map: the dump is compared with them. */
function byLab(lab: QemuGuest): Pick<Keeping, "plug" | "plugCpu" | "unplug"> {
  return {
    plug: async (sizeMiB) => {
      const { id, address, size } = await plugDimm(lab.qmp, {
        size: BigInt(sizeMiB) << 20n,
        shared: { kind: "memfd" },
      });
      return { id, start: address, end: address + size };
    },
    plugCpu: async () => await plugCpu(lab.qmp),
    unplug: async (id) => {
      await lab.qmp.execute("device_del", { id });
    },
  };
}

async function watching(guest: LabGuest, lab: QemuGuest): Promise<Keeping> {
  const keeper = await OutsideKeeper.start(guest.qmpPath);
  return {
    ...byLab(lab),
    rest: async () => await delay(REST_MS),
    // Not its own stop, which looks once more: the guest is dead by now.
    stop: async () => {
      await keeper[Symbol.asyncDispose]();
      const { installs, failure } = keeper;
      return { installs, errors: failure ? [failure.message] : [] };
    },
  };
}

/** Waits until the header is true, as seen from outside; for as long as reloads are waited for. */
async function untilAccurate({ qmpPath }: LabGuest): Promise<void> {
  await using machine = await QemuMachine.open(qmpPath);
  const deadline = performance.now() + RELOADS_TIMEOUT_MS;
  for (;;) {
    const { verdict } = await auditMachine(machine, nodeSha256);
    if (verdict === "accurate" || performance.now() > deadline) return;
    await delay(REST_MS);
  }
}

async function plugging(guest: LabGuest, lab: QemuGuest): Promise<Keeping> {
  const qemu = await QemuMachine.open(guest.qmpPath);
  const installs: OutsideInstall[] = [];
  const plugged: string[] = [];
  // As QemuMachine is, but for DIMMs that the lab can map.
  const machine: PluggableMachine = {
    name: qemu.name,
    memory: qemu.memory,
    layout: async () => await qemu.layout(),
    paused: async (work) => await qemu.paused(work),
    allocateDimm: async (size) => {
      const dimm = await allocateDimm(qemu.guest.qmp, { size, shared: { kind: "memfd" } });
      return {
        plug: async (added) => {
          await dimm.plug((id) => (plugged.push(id), added(id)));
        },
        free: async () => await dimm.free(),
      };
    },
    plugCpu: async (added) => await qemu.plugCpu(added),
  };
  const keeper = new Keeper(machine, nodeSha256);
  const { after } = await keeper.reconcile();
  if (after.image) await keeper.prepare(after.image);
  const errors: string[] = [];
  let stopping = false;
  // One thing after the other, as in one process of ours.
  let queue: Promise<unknown> = Promise.resolve();
  const next = async <T>(work: () => Promise<T>): Promise<T> => {
    const done = queue.then(work);
    queue = done.catch((error: unknown) => {
      if (!stopping) errors.push(wordsOf(error));
    });
    return await done;
  };
  return {
    plug: async (sizeMiB) =>
      await next(async () => {
        const before = plugged.length;
        try {
          const { pauseMicroseconds, bytesWritten } = await plugMemory(
            machine,
            keeper,
            BigInt(sizeMiB) << 20n,
          );
          installs.push({ at: hostNow(), pauseMicroseconds, bytesWritten, reactionMs: undefined });
        } catch (error) {
          // The device may be there: what is asked of the dump does not depend on how its plug ended.
          if (plugged.length === before) throw error;
          errors.push(wordsOf(error));
        }
        return await trialDimm(lab, plugged.at(-1)!);
      }),
    plugCpu: async () => await next(async () => (await plugCpuFirst(machine, keeper)).id),
    unplug: async (id) => {
      let asked: (() => void) | undefined;
      const isAsked = new Promise<void>((resolve) => (asked = resolve));
      const removed = next(async () => {
        const [device] = await devicesNamed(qemu, [id]);
        const told: RemovableDevice = {
          ...device!,
          remove: async (limitMs, begun) => await device!.remove(limitMs, () => (begun(), asked!())),
        };
        if (told.kind === "cpu") await unplugCpu(qemu, keeper, told, REMOVAL_TIMEOUT_MS);
        else await unplugMemory(qemu, keeper, told, REMOVAL_TIMEOUT_MS);
      });
      await Promise.race([isAsked, removed]);
      // How it ends is in `errors`.
      removed.catch(() => undefined);
    },
    rest: async () => {
      await delay(REST_MS);
      await queue;
    },
    // The guest is dead: an answer that has not come will not come.
    stop: async () => {
      stopping = true;
      await qemu.interrupt();
      await queue;
      await qemu[Symbol.asyncDispose]();
      return { installs, errors };
    },
  };
}

async function trialDimm(lab: QemuGuest, id: string): Promise<TrialDimm> {
  const device = parseMemoryDevices(await lab.memoryDevices()).find((each) => each.id === id);
  if (!device?.range) throw new MeasurementError(`QEMU does not list ${id}, which was plugged`);
  return { id, ...device.range };
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
