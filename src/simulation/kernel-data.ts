/** The kernel's own data as bytes: VMCOREINFO note, `struct resource`, `kexec_crash_image`, `struct kimage`, CPU notes. */
import { alignDown, u64, u64Bytes } from "../image/bytes.ts";
import { VMCOREINFO_NOTE_SIZE } from "../image/vmcoreinfo.ts";
import type { PhysicalRange } from "../layout/range.ts";
import { RangeSet } from "../layout/range-set.ts";
import { type Blueprint, KERNEL_DATA } from "./blueprint.ts";
import { latin1, noise } from "./bytes.ts";
import type { KernelModel } from "./kernels.ts";
import type { SparseMemory } from "./memory.ts";

/** `note_buf_t` on x86-64: note header 12, "CORE" 8, elf_prstatus 336, terminator 12. */
export const CPU_NOTE_SIZE = 368;

/** `__START_KERNEL_map`, virtual. */
const START_KERNEL_MAP = 0xffff_ffff_8000_0000n;
/** Bytes of `struct kimage` up to its last possible segment; kmalloc rounds the whole to this alignment. */
const KIMAGE_SIZE = 1024;
/** IORESOURCE_BUSY | IORESOURCE_SYSTEM_RAM, as a running kernel has it for crash memory. */
const CRASH_RESOURCE_FLAGS = 0x8100_0200n;
/** Offsets in `struct kimage`, the same on 5.10, 6.1 and 6.12 (read off running kernels). */
const KIMAGE = {
  start: 24,
  controlCodePage: 32,
  nrSegments: 56,
  segments: 64,
  segmentSize: 32,
  lists: 576,
  controlPage: 624,
} as const;
/** `control_pages`, `dest_pages`, `unusable_pages`: empty in an image of kdump. */
const LIST_HEADS = 3;
/** `elf_prstatus`: registers begin here, in the order of `struct user_regs_struct`. */
const PRSTATUS_REGISTERS = 112;

/** One segment as the kernel keeps it. */
export type Segment = PhysicalRange;

/** `struct kimage` of a loaded image, as far as the rest of the kernel needs it. */
export interface LoadedKimage {
  readonly address: bigint;
  readonly entry: bigint;
  readonly segments: readonly Segment[];
  /**
   * From the first to the last page that the kernel took in crash memory besides (control-pages.ts): code and page tables with
   * which a panic leaves it. Segments may lie between them.
   */
  readonly controlPages: PhysicalRange;
}

/** CONFIG_NR_CPUS: entries of `__per_cpu_offset`. */
const NR_CPUS = 512;

/** Puts a booted kernel's data into `memory`; nothing is loaded. @param possible - CPUs that may ever be there. */
export function writeKernel(
  memory: SparseMemory,
  blueprint: Blueprint,
  kernel: KernelModel,
  possible: number,
): void {
  const { paddr, vaddr } = blueprint.kernel;
  memory.poke(paddr, noise(0x8000, 1));
  memory.poke(blueprint.vmcoreinfo, vmcoreinfoNote(blueprint, kernel.release));
  memory.poke(paddr + KERNEL_DATA.crashName, latin1("Crash kernel\0"));
  const name = vaddr + KERNEL_DATA.crashName;
  memory.poke(paddr + KERNEL_DATA.crashkRes, resource(name, blueprint.crashkRes));
  memory.poke(paddr + KERNEL_DATA.crashkLowRes, resource(name, blueprint.crashkLowRes));
  writePerCpuTable(memory, blueprint, possible);
}

/**
 * `__per_cpu_offset` and `crash_notes` (setup_per_cpu_areas, arch/x86/kernel/setup_percpu.c): CPUs that are not
 * possible keep the boot value, `__per_cpu_load`.
 */
function writePerCpuTable(
  memory: SparseMemory,
  { kernel, crashNotes, pageOffset }: Blueprint,
  possible: number,
): void {
  const unit = alignDown(crashNotes.base, 0x1000n);
  memory.poke(kernel.paddr + KERNEL_DATA.crashNotes, u64Bytes(crashNotes.base - unit));
  for (let cpu = 0; cpu < NR_CPUS; cpu++) {
    const offset =
      cpu < possible
        ? pageOffset + unit + BigInt(cpu) * crashNotes.stride
        : kernel.vaddr + KERNEL_DATA.perCpuLoad;
    memory.poke(kernel.paddr + KERNEL_DATA.perCpuOffset + BigInt(cpu * 8), u64Bytes(offset));
  }
}

/** `nr_pfn_mapped` and `pfn_mapped` (arch/x86/mm/init.c): all memory that the kernel has ever mapped, as page frames. */
export function writeMapped(
  memory: SparseMemory,
  { kernel }: Blueprint,
  mapped: readonly PhysicalRange[],
): void {
  // add_pfn_range_mapped joins what touches, and sorts.
  const { ranges } = RangeSet.of(mapped);
  memory.poke(kernel.paddr + KERNEL_DATA.nrPfnMapped, u64Bytes(BigInt(ranges.length)));
  ranges.forEach(({ start, end }, i) => {
    const entry = kernel.paddr + KERNEL_DATA.pfnMapped + BigInt(16 * i);
    memory.poke(entry, u64Bytes(start >> 12n));
    memory.poke(entry + 8n, u64Bytes(end >> 12n));
  });
}

/** The physical address of CPU `cpu`'s note. */
export function crashNoteOf({ crashNotes }: Blueprint, cpu: number): bigint {
  return crashNotes.base + BigInt(cpu) * crashNotes.stride;
}

/** Points `kexec_crash_image` at the image at physical `kimage`; undefined is NULL. */
export function setImagePointer(
  memory: SparseMemory,
  blueprint: Blueprint,
  kimage: bigint | undefined,
): void {
  const place = blueprint.kernel.paddr + KERNEL_DATA.imagePointer;
  memory.poke(place, u64Bytes(kimage === undefined ? 0n : blueprint.pageOffset + kimage));
}

/** Writes a `struct kimage` at `address`. */
export function writeKimage(
  memory: SparseMemory,
  { pageOffset }: Blueprint,
  { address, entry, segments, controlPages }: LoadedKimage,
): void {
  const bytes = new Uint8Array(KIMAGE_SIZE);
  // A `struct page *` in a real kernel; here it says where the page is.
  bytes.set(u64Bytes(controlPages.start), KIMAGE.controlCodePage);
  for (let i = 0; i < LIST_HEADS; i++) {
    const at = KIMAGE.lists + i * 16;
    const self = u64Bytes(pageOffset + address + BigInt(at));
    bytes.set(self, at);
    bytes.set(self, at + 8);
  }
  // The last byte of the last control page (kimage_alloc_crash_control_pages).
  bytes.set(u64Bytes(controlPages.end - 1n), KIMAGE.controlPage);
  bytes.set(u64Bytes(entry), KIMAGE.start);
  bytes.set(u64Bytes(BigInt(segments.length)), KIMAGE.nrSegments);
  segments.forEach(({ start, end }, i) => {
    const at = KIMAGE.segments + i * KIMAGE.segmentSize;
    // The loader's own buffer: an address in a process, which nobody follows later.
    bytes.set(u64Bytes(0x7f00_0000_0000n + start), at);
    bytes.set(u64Bytes(end - start), at + 8);
    bytes.set(u64Bytes(start), at + 16);
    bytes.set(u64Bytes(end - start), at + 24);
  });
  memory.poke(address, bytes);
}

/** The image to which `kexec_crash_image` leads, read from memory; undefined where it is NULL. */
export function readLoadedKimage(memory: SparseMemory, blueprint: Blueprint): LoadedKimage | undefined {
  const pointer = u64(memory.peek(blueprint.kernel.paddr + KERNEL_DATA.imagePointer, 8), 0);
  if (pointer === 0n) return undefined;
  const address = pointer - blueprint.pageOffset;
  const bytes = memory.peek(address, KIMAGE_SIZE);
  const room = Math.floor((KIMAGE_SIZE - KIMAGE.segments) / KIMAGE.segmentSize);
  const count = Math.min(Number(u64(bytes, KIMAGE.nrSegments)), room);
  const segments = Array.from({ length: count }, (_, i) => {
    const at = KIMAGE.segments + i * KIMAGE.segmentSize;
    const start = u64(bytes, at + 16);
    return { start, end: start + u64(bytes, at + 24) };
  });
  const controlPages = {
    start: u64(bytes, KIMAGE.controlCodePage),
    end: u64(bytes, KIMAGE.controlPage) + 1n,
  };
  return { address, entry: u64(bytes, KIMAGE.start), segments, controlPages };
}

/** Where a new `struct kimage` goes: not where the old one is, which is freed but not cleared. */
export function nextKimageAddress({ heap }: Blueprint, old: bigint | undefined): bigint {
  return old === heap ? heap + BigInt(KIMAGE_SIZE) : heap;
}

/** What crash_save_cpu leaves in a CPU's note when a panic stops it: NT_PRSTATUS, with registers that can be told apart. */
export function cpuNote(cpu: number): Uint8Array {
  const bytes = new Uint8Array(CPU_NOTE_SIZE);
  bytes.set([5, 0, 0, 0, 0x50, 1, 0, 0, 1, 0, 0, 0]);
  bytes.set(latin1("CORE"), 12);
  const registers = noise(27 * 8, cpu + 1);
  bytes.set(registers, 20 + PRSTATUS_REGISTERS);
  return bytes;
}

function vmcoreinfoNote({ kernel }: Blueprint, release: string): Uint8Array {
  const lines = [
    `OSRELEASE=${release}`,
    "PAGESIZE=4096",
    `SYMBOL(_stext)=${kernel.vaddr.toString(16)}`,
    `NUMBER(phys_base)=${kernel.paddr - (kernel.vaddr - START_KERNEL_MAP)}`,
    "",
  ].join("\n");
  const bytes = new Uint8Array(VMCOREINFO_NOTE_SIZE);
  bytes[0] = "VMCOREINFO\0".length;
  new DataView(bytes.buffer).setUint32(4, lines.length, true);
  bytes.set(latin1("VMCOREINFO"), 12);
  bytes.set(latin1(lines), 24);
  return bytes;
}

/** `struct resource` (include/linux/ioport.h): start, end (inclusive), name, flags. */
function resource(name: bigint, range: PhysicalRange | undefined): Uint8Array {
  const bytes = new Uint8Array(96);
  bytes.set(u64Bytes(range?.start ?? 0n), 0);
  bytes.set(u64Bytes(range ? range.end - 1n : 0n), 8);
  bytes.set(u64Bytes(name), 16);
  bytes.set(u64Bytes(CRASH_RESOURCE_FLAGS), 24);
  return bytes;
}
