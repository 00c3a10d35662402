/** What programs in the simulated machine see of it: /proc/iomem and the files of sysfs that matter to kdump. */
import { VMCOREINFO_NOTE_SIZE } from "../image/vmcoreinfo.ts";
import type { PhysicalRange } from "../layout/range.ts";
import type { ReadTree } from "../layout/sysfs.ts";
import { crashSize } from "./blueprint.ts";
import { BLOCK_SIZE, blockCount, type Dimm } from "./dimms.ts";
import { CPU_NOTE_SIZE, crashNoteOf } from "./kernel-data.ts";
import { systemRam, type SystemState } from "./system.ts";

const MEMORY = "/sys/devices/system/memory";
const CPU = "/sys/devices/system/cpu";
const BLOCK_DIRECTORY = /^\/sys\/devices\/system\/memory\/memory(?<index>\d{1,15})\/?$/;
const BLOCK_FILE = /^\/sys\/devices\/system\/memory\/memory(?<index>\d{1,15})\/state$/;

/** What the views need beside the system's state. */
export interface ViewState extends SystemState {
  /** Whether an image is loaded. */
  readonly loaded: boolean;
  /** Whether the kernel keeps the loaded image's header true by itself. */
  readonly updatesHeader: boolean;
  readonly autoOnline: boolean;
}

/** /proc/iomem, inclusive and indented by depth as the kernel writes it. */
export function iomemText(state: SystemState): string {
  const { blueprint } = state;
  const { kernel, crashkRes, crashkLowRes } = blueprint;
  const half = kernel.size / 2n;
  const children: (readonly [PhysicalRange, string])[] = [
    [{ start: kernel.paddr, end: kernel.paddr + half }, "Kernel code"],
    [{ start: kernel.paddr + half, end: kernel.paddr + kernel.size }, "Kernel data"],
  ];
  for (const range of [crashkLowRes, crashkRes]) if (range) children.push([range, "Crash kernel"]);
  const lines: string[] = [];
  for (const range of systemRam(state)) {
    lines.push(iomemLine(0, range, "System RAM"));
    for (const [child, name] of children)
      if (range.start <= child.start && child.end <= range.end) lines.push(iomemLine(1, child, name));
  }
  return lines.join("");
}

/** The files, generated when they are read. @param state - asked for at each read. */
export function systemFiles(state: () => ViewState): ReadTree {
  return {
    readText: async (path) => {
      const index = BLOCK_FILE.exec(path)?.groups?.["index"];
      return index === undefined ? files(state()).get(path)?.() : blockText(state(), BigInt(index));
    },
    list: async (path) => {
      const index = BLOCK_DIRECTORY.exec(path)?.groups?.["index"];
      if (index !== undefined) return blockText(state(), BigInt(index)) === undefined ? [] : ["state"];
      const prefix = `${path.replace(/\/+$/, "")}/`;
      const names = [...files(state()).keys()]
        .filter((file) => file.startsWith(prefix))
        .map((file) => file.slice(prefix.length).split("/")[0]!);
      return [...new Set(names)];
    },
  };
}

/** One block's file, without all others: a machine may have thousands, and who looks at it reads each. */
function blockText(state: SystemState, index: bigint): string | undefined {
  const at = index * BLOCK_SIZE;
  const dimm = state.dimms.find(({ added, range }) => added && range.start <= at && at < range.end);
  if (dimm) return stateText(dimm.online.has(Number(index - dimm.range.start / BLOCK_SIZE)));
  return memoryBlocks({ ...state, dimms: [] }).some(([block]) => block === index)
    ? stateText(true)
    : undefined;
}

function stateText(online: boolean): string {
  return online ? "online\n" : "offline\n";
}

function files(state: ViewState): ReadonlyMap<string, () => string> {
  const { blueprint, kernel, cpus } = state;
  const flag = state.loaded && state.updatesHeader ? "1\n" : "0\n";
  const tree = new Map<string, () => string>([
    ["/proc/iomem", () => iomemText(state)],
    ["/proc/sys/kernel/osrelease", () => `${kernel.release}\n`],
    ["/sys/kernel/kexec_crash_loaded", () => (state.loaded ? "1\n" : "0\n")],
    ["/sys/kernel/kexec_crash_size", () => `${crashSize(blueprint)}\n`],
    ["/sys/kernel/vmcoreinfo", () => vmcoreinfoText(blueprint.vmcoreinfo)],
    [`${MEMORY}/block_size_bytes`, () => `${hex(BLOCK_SIZE)}\n`],
    [`${MEMORY}/auto_online_blocks`, () => (state.autoOnline ? "online\n" : "offline\n")],
    [`${CPU}/possible`, () => cpuList(cpus.possible)],
    [`${CPU}/present`, () => cpuList(cpus.present)],
    [`${CPU}/online`, () => cpuList(cpus.present)],
  ]);
  const { crashElfcorehdrSize } = kernel;
  if (crashElfcorehdrSize !== undefined) {
    tree.set("/sys/kernel/crash_elfcorehdr_size", () => `${crashElfcorehdrSize}\n`);
    tree.set(`${MEMORY}/crash_hotplug`, () => flag);
    tree.set(`${CPU}/crash_hotplug`, () => flag);
  }
  for (const [index, online] of memoryBlocks(state))
    tree.set(`${MEMORY}/memory${index}/state`, () => stateText(online));
  for (let cpu = 0; cpu < cpus.present; cpu++) {
    tree.set(`${CPU}/cpu${cpu}/crash_notes`, () => `${hex(crashNoteOf(blueprint, cpu))}\n`);
    tree.set(`${CPU}/cpu${cpu}/crash_notes_size`, () => `${CPU_NOTE_SIZE}\n`);
  }
  return tree;
}

/** Memory blocks by index, and whether each is online: boot RAM's always are. */
function memoryBlocks({ blueprint, dimms }: SystemState): readonly (readonly [bigint, boolean])[] {
  const boot = blueprint.backedRam.ranges.flatMap(({ start, end }) =>
    indexes(start, end).map((index) => [index, true] as const),
  );
  return [...boot, ...dimms.filter((dimm) => dimm.added).flatMap(dimmBlocks)];
}

function dimmBlocks(dimm: Dimm): readonly (readonly [bigint, boolean])[] {
  const first = dimm.range.start / BLOCK_SIZE;
  return Array.from(
    { length: blockCount(dimm) },
    (_, block) => [first + BigInt(block), dimm.online.has(block)] as const,
  );
}

function indexes(start: bigint, end: bigint): readonly bigint[] {
  const first = start / BLOCK_SIZE;
  const last = (end - 1n) / BLOCK_SIZE;
  return Array.from({ length: Number(last - first) + 1 }, (_, i) => first + BigInt(i));
}

function iomemLine(depth: number, { start, end }: PhysicalRange, name: string): string {
  return `${"  ".repeat(depth)}${digits(start)}-${digits(end - 1n)} : ${name}\n`;
}

function digits(address: bigint): string {
  return hex(address).padStart(8, "0");
}

/** `"%pa %x\n"` (kernel/ksysfs.c). */
function vmcoreinfoText(address: bigint): string {
  return `0x${hex(address).padStart(16, "0")} ${hex(BigInt(VMCOREINFO_NOTE_SIZE))}\n`;
}

function cpuList(count: number): string {
  return count === 1 ? "0\n" : `0-${count - 1}\n`;
}

function hex(value: bigint): string {
  return value.toString(16);
}
