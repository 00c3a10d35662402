/**
 * What the two system calls leave in crash memory: order of segments, places, region table, digest, command line and
 * memory map as they were seen on 5.10, 6.1 and 6.12. Kernel and initrd are stood in for by some pages of noise.
 */
import { alignUp, PAGE_SIZE } from "../image/bytes.ts";
import type { Sha256 } from "../image/hash.ts";
import { type PhysicalRange, rangeBytes } from "../layout/range.ts";
import { RangeSet } from "../layout/range-set.ts";
import type { Blueprint } from "./blueprint.ts";
import { COMMAND_LINE_SIZE, writeBootParams } from "./boot-params.ts";
import { noise } from "./bytes.ts";
import { backupSource, kernelHeader, kexecToolsHeader } from "./describe.ts";
import { pageTablesFor, takeControlPages, writeControlPages } from "./control-pages.ts";
import { SimulationError } from "./error.ts";
import { nextKimageAddress, readLoadedKimage, setImagePointer, writeKimage } from "./kernel-data.ts";
import type { KernelModel } from "./kernels.ts";
import { spanOf } from "./kexec-load.ts";
import type { SparseMemory } from "./memory.ts";
import { CrashRoom } from "./placement.ts";
import { KERNEL_PURGATORY, KEXEC_TOOLS_PURGATORY, purgatoryEntry, writePurgatory } from "./purgatory.ts";
import { identityMap, type SystemState } from "./system.ts";

/** The system call that loads an image. `kexec_load` stands for kexec-tools without `--hotplug`. */
export type LoadCall = "kexec_file_load" | "kexec_load";

/**
 * Whether `kernel` keeps the header of what `call` loads true by itself. Its handler serves kexec_file_load; an image
 * of kexec_load only where it was loaded with a flag, which kexec-tools sets with `--hotplug`.
 */
export function updatesHeader(kernel: KernelModel, call: LoadCall): boolean {
  return kernel.crashElfcorehdrSize !== undefined && call === "kexec_file_load";
}

/** What is loaded. */
export interface LoadRequest {
  readonly call: LoadCall;
  /** The capture kernel's command line, without `elfcorehdr=`, which the loader adds. */
  readonly commandLine: string;
  /** Another seed is another kernel and initrd. */
  readonly seed: number;
  /** Bytes of the initrd's segment, whole pages. */
  readonly initrdSize?: bigint;
}

/** Where the parts of an image are that was loaded, or re-armed: then `segments` is what the kernel was told of; known to the machine, told to nobody who looks at it from outside. */
export interface LoadedImage {
  readonly call: LoadCall;
  readonly header: PhysicalRange;
  readonly bootParams: PhysicalRange;
  readonly table: bigint;
  readonly digest: bigint;
  readonly controlPages: PhysicalRange;
  readonly segments: readonly PhysicalRange[];
}

/** Boot parameters and command line, as both loaders round them up. */
const BOOT_PARAMS = { kexec_file_load: 0x2000n, kexec_load: 0x4000n } as const;
const KERNEL_SEGMENT = 0x4_0000n;
const INITRD_SEGMENT = 0x2_0000n;
/** `kernel_alignment` of x86-64's setup header. */
const KERNEL_ALIGNMENT = 0x20_0000n;
/** kexec-tools makes the header's segment at least this large. */
const KEXEC_TOOLS_HEADER = 0x4000n;
/** Parameter `elfcorehdr=` with its address (MAX_ELFCOREHDR_STR_LEN, arch/x86/kernel/kexec-bzimage64.c). */
const ELFCOREHDR_LENGTH = 30;

/**
 * Loads an image over what was there. The pointer is NULL while the bytes change: the kernel frees the old image
 * first (do_kexec_load and kexec_file_load with KEXEC_ON_CRASH).
 *
 * @throws {SimulationError} where no crash memory is reserved, the image does not fit, or the command line is too long.
 */
export function loadImage(
  memory: SparseMemory,
  sha256: Sha256,
  system: SystemState,
  request: LoadRequest,
): LoadedImage {
  const { blueprint } = system;
  if (!blueprint.crashkRes) throw new SimulationError("a load", "the machine has reserved no crash memory");
  if (request.commandLine.length + ELFCOREHDR_LENGTH >= COMMAND_LINE_SIZE)
    throw new SimulationError(
      "a load",
      `the command line has ${request.commandLine.length} characters, a kernel takes ${COMMAND_LINE_SIZE - ELFCOREHDR_LENGTH - 1}`,
    );
  const old = readLoadedKimage(memory, blueprint);
  const room = new CrashRoom(blueprint.crashkRes);
  setImagePointer(memory, blueprint, undefined);
  const { entry, ...image } =
    request.call === "kexec_file_load"
      ? fileLoad(memory, sha256, system, request, room)
      : toolsLoad(memory, sha256, system, request, room);
  const tables = pageTablesFor(identityMap(system), blueprint.paging);
  const pages = takeControlPages(blueprint.crashkRes, image.segments, tables);
  if (!pages) throw new SimulationError("that load", `crash memory has no room for ${tables} page tables`);
  writeControlPages(memory, pages);
  const controlPages = spanOf(pages);
  const address = nextKimageAddress(blueprint, old?.address);
  writeKimage(memory, blueprint, { address, entry, segments: image.segments, controlPages });
  setImagePointer(memory, blueprint, address);
  return { call: request.call, controlPages, ...image };
}

type Placed = Omit<LoadedImage, "call" | "controlPages"> & { readonly entry: bigint };

/** The kernel's loader: header lowest, all else from the top down (arch/x86/kernel/kexec-bzimage64.c). */
function fileLoad(
  memory: SparseMemory,
  sha256: Sha256,
  system: SystemState,
  request: LoadRequest,
  room: CrashRoom,
): Placed {
  const { blueprint, kernel } = system;
  const { bytes } = kernelHeader(system);
  const fixed = kernel.headerSegment;
  const header = room.lowest(alignUp(BigInt(fixed === "fitting" ? bytes.length : fixed), BigInt(PAGE_SIZE)));
  const purgatory = room.highestOfKernel(BigInt(KERNEL_PURGATORY.size));
  const bootParams = room.highestOfKernel(BOOT_PARAMS.kexec_file_load);
  const image = room.highestOfKernel(KERNEL_SEGMENT, KERNEL_ALIGNMENT);
  const initrd = room.highestOfKernel(request.initrdSize ?? INITRD_SEGMENT);
  fill(memory, header, bytes);
  fill(memory, image, noise(Number(KERNEL_SEGMENT), request.seed));
  fill(memory, initrd, noise(Number(rangeBytes(initrd)), request.seed + 1));
  clear(memory, bootParams);
  const line = `elfcorehdr=0x${header.start.toString(16)} ${request.commandLine}`;
  writeBootParams(memory, bootParams.start, line, captureRam(blueprint, [header]));
  const covered = [...(kernel.digestCoversHeader ? [header] : []), bootParams, image, initrd];
  const { table, digest } = writePurgatory(memory, sha256, purgatory.start, KERNEL_PURGATORY, covered, {
    bootParams: bootParams.start,
    backup: undefined,
  });
  const segments = [header, purgatory, bootParams, image, initrd];
  return { header, bootParams, table, digest, segments, entry: purgatoryEntry(purgatory.start) };
}

/** kexec-tools' loader: all from the top down, the segments sorted (kexec/arch/i386/crashdump-x86.c). */
function toolsLoad(
  memory: SparseMemory,
  sha256: Sha256,
  system: SystemState,
  request: LoadRequest,
  room: CrashRoom,
): Placed {
  const from = backupSource(system);
  const backup = room.highest(alignUp(rangeBytes(from), BigInt(PAGE_SIZE)));
  const { bytes } = kexecToolsHeader(system, backup.start);
  const wanted = alignUp(BigInt(bytes.length), BigInt(PAGE_SIZE));
  const header = room.highest(wanted > KEXEC_TOOLS_HEADER ? wanted : KEXEC_TOOLS_HEADER);
  const purgatory = room.highest(BigInt(KEXEC_TOOLS_PURGATORY.size));
  const bootParams = room.highest(BOOT_PARAMS.kexec_load);
  const image = room.highest(KERNEL_SEGMENT, KERNEL_ALIGNMENT);
  const initrd = room.highest(request.initrdSize ?? INITRD_SEGMENT);
  const setupData = room.lowest(BigInt(PAGE_SIZE));
  fill(memory, header, bytes);
  fill(memory, image, noise(Number(KERNEL_SEGMENT), request.seed));
  fill(memory, initrd, noise(Number(rangeBytes(initrd)), request.seed + 1));
  for (const segment of [setupData, bootParams, backup]) clear(memory, segment);
  const line = `${request.commandLine} elfcorehdr=${header.start / 1024n}K`;
  const ram = captureRam(system.blueprint, [header, backup]);
  writeBootParams(memory, bootParams.start, line, ram);
  const covered = [setupData, image, initrd, bootParams, header, backup].sort(byStart);
  const { table, digest } = writePurgatory(memory, sha256, purgatory.start, KEXEC_TOOLS_PURGATORY, covered, {
    bootParams: bootParams.start,
    backup: { from, to: backup.start },
  });
  const segments = [...covered, purgatory].sort(byStart);
  return { header, bootParams, table, digest, segments, entry: purgatoryEntry(purgatory.start) };
}

/** The capture kernel's own RAM: low memory, low crash memory, and crash memory but for what must survive its start. */
function captureRam(
  { systemRam, crashkRes, crashkLowRes }: Blueprint,
  kept: readonly PhysicalRange[],
): readonly PhysicalRange[] {
  const own = [systemRam[0]!, crashkLowRes, crashkRes].filter((range) => range !== undefined);
  return RangeSet.of(own).subtract(RangeSet.of(kept)).ranges;
}

/** The loader writes a segment whole: behind its content come zeros. */
function fill(memory: SparseMemory, segment: PhysicalRange, content: Uint8Array): void {
  clear(memory, segment);
  memory.poke(segment.start, content);
}

function clear(memory: SparseMemory, segment: PhysicalRange): void {
  memory.poke(segment.start, new Uint8Array(Number(rangeBytes(segment))));
}

function byStart(a: PhysicalRange, b: PhysicalRange): number {
  return a.start < b.start ? -1 : 1;
}
