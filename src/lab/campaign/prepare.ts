/** Makes a guest ready for a trial: capture kernel loaded, panic by NMI, and what is to be known of it from outside. */
import { cpuNotes } from "../../elfcore/kinds.ts";
import { encodeCoreHeader } from "../../elfcore/encode.ts";
import { u64 } from "../../image/bytes.ts";
import { readVmcoreInfo } from "../../image/vmcoreinfo.ts";
import { auditMachine } from "../../keeper/audit.ts";
import { describedMemory } from "../../layout/described.ts";
import { kernelImage, parseIomem } from "../../layout/iomem.ts";
import type { RangeSet } from "../../layout/range-set.ts";
import { QemuMachine } from "../../targets/qemu/machine.ts";
import { nodeSha256 } from "../../targets/sha256.ts";
import { MeasurementError } from "../errors.ts";
import { type LoadCall, loadCaptureKernel, onlineMemory } from "../guest-actions.ts";
import type { LabGuest } from "../guest.ts";
import { GuestProcess } from "../guest-process.ts";
import { GUEST_KDUMP_HOTPLUG } from "../node.ts";
import { policyScripts } from "../policies/scripts.ts";
import { startUdev } from "../udev.ts";
import { findPlaces } from "../window/symbols.ts";
import { type SectionMap, sectionMapOf } from "./sections.ts";
import type { KeepingWay } from "./ways.ts";

/** What a ready guest is. */
export interface ReadyOptions {
  readonly load: LoadCall;
  /** Its udevd and what that runs, and our agent. */
  readonly way: Pick<KeepingWay, "rules" | "isInside">;
  /** To which zone the kernel gives added memory: only what is movable can be removed for sure. */
  readonly zone: "online" | "online_movable";
  /** Whether the guest brings CPUs online that are added, as udev would; left out: not. */
  readonly cpus?: boolean | undefined;
}

/** What is known of a ready guest. Addresses are physical. */
export interface ReadyFacts {
  readonly release: string;
  /** Whether the guest's kernel rewrites the header by itself (`crash_hotplug`). */
  readonly kernelUpdates: boolean;
  /** Start of the kernel's text: with KASLR, another one after each boot. */
  readonly kernelCode: bigint;
  /** Boot memory that a dump has to contain. */
  readonly online: RangeSet;
  /** What the first header describes. */
  readonly described: RangeSet;
  readonly sections: SectionMap;
  readonly header: { readonly address: bigint; readonly capacity: number; readonly bytes: Uint8Array };
  /** Offsets in the RAM file: they can be read when QEMU is gone. */
  readonly imagePointer: number;
  readonly lock: number;
  readonly lockKind: "counter" | "mutex";
  readonly onlineCpus: number;
  /** Whether the guest's kernel takes CPUs that are added: 6.12 under TCG counts no CPU as one that may come. */
  readonly takesCpus: boolean;
  /** Of the notes of the CPUs that the first header names. */
  readonly cpuNotes: readonly number[];
}

/** The capture kernel has little to do: what it says on a serial line costs it most of a second. */
const CAPTURE_APPEND = "quiet";

/** A guest on TCG takes some 10 s to start the program, and some more to hash the image. */
const AGENT_TIMEOUT_MS = 240_000;
/** What onlines CPUs: a CPU that is there and never was online ends QEMU at a panic (TCG, with or without us). */
const ONLINE_CPUS =
  'while :; do for f in /sys/devices/system/cpu/cpu*/online; do read s <$f && [ "$s" = 1 ] || echo 1 >$f; done; sleep 0.05; done';

/** Makes `guest` ready. @throws {MeasurementError} where kdump is not accurate before anything changes. */
export async function prepareGuest(guest: LabGuest, options: ReadyOptions): Promise<ReadyFacts> {
  const { agent } = guest;
  const { load, way, zone, cpus } = options;
  const capture = { load, acpiNoMemhotplug: true, captureAppend: CAPTURE_APPEND };
  if (way.rules) await startUdev(agent, { rules: [way.rules], scripts: policyScripts(capture) });
  await loadCaptureKernel(agent, capture);
  await agent.output(
    `echo 1 >/proc/sys/kernel/unknown_nmi_panic && echo 1 >/proc/sys/kernel/panic && echo ${zone} >/sys/devices/system/memory/auto_online_blocks`,
  );
  if (way.isInside) {
    const inside = await GuestProcess.start(agent, [GUEST_KDUMP_HOTPLUG, "keep", "local", "--json"]);
    await inside.printed(/"verdict":"accurate"/, AGENT_TIMEOUT_MS);
  }
  if (cpus) await agent.output(`(${ONLINE_CPUS}) >/dev/null 2>&1 </dev/null & echo`);
  const takesCpus = await agent.run(
    'cd /sys/devices/system/cpu && [ "$(cat possible)" != "$(cat present)" ]',
  );
  const itself = await agent.run("grep -q 1 /sys/devices/system/memory/crash_hotplug");
  const places = await findPlaces(agent);
  const note = /^(?:0x)?([0-9a-f]{1,16}) /.exec(await agent.output("cat /sys/kernel/vmcoreinfo"))?.[1];
  const code = kernelImage(parseIomem(await agent.output("cat /proc/iomem")));
  const online = await onlineMemory(agent);
  await using machine = await QemuMachine.open(guest.qmpPath);
  const { memory } = machine;
  const { image, verdict, reason } = await auditMachine(machine, nodeSha256);
  if (!image || verdict !== "accurate")
    throw new MeasurementError(`kdump was ${verdict} before anything was plugged: ${reason}`);
  const info = note === undefined ? undefined : await readVmcoreInfo(memory, BigInt(`0x${note}`));
  if (!info)
    throw new MeasurementError("The guest's VMCOREINFO note is not where /sys/kernel/vmcoreinfo says");
  const pageOffset = u64(await memory.read(places.pageOffsetBase, 8), 0);
  const offsetOf = (address: bigint): number => {
    const piece = memory.directPieces.find(({ start, end }) => start <= address && address < end);
    if (!piece) throw new MeasurementError("The guest's RAM is in no file that can be read from outside");
    return Number(piece.offset + (address - piece.start));
  };
  return {
    release: guest.release,
    kernelUpdates: itself.status === 0,
    kernelCode: code?.start ?? 0n,
    online,
    described: describedMemory(image.header),
    sections: sectionMapOf(info, pageOffset),
    header: {
      address: image.headerAddress,
      capacity: image.headerCapacity,
      bytes: encodeCoreHeader(image.header),
    },
    imagePointer: offsetOf(places.image),
    lock: offsetOf(places.lock),
    lockKind: places.lockKind,
    onlineCpus: offsetOf(places.onlineCpus),
    takesCpus: takesCpus.status === 0,
    cpuNotes: cpuNotes(image.header).map(({ p_paddr }) => offsetOf(p_paddr)),
  };
}
