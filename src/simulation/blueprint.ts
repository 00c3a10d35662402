/** Where everything lies in a simulated machine: the chipset's RAM, the kernel's data, crash memory. */
import { halfOpen, type PhysicalRange, rangeBytes } from "../layout/range.ts";
import { RangeSet } from "../layout/range-set.ts";
import { alignDown, alignUp } from "../image/bytes.ts";
import type { Paging } from "./control-pages.ts";
import { SimulationError } from "./error.ts";

/** Places of one machine. Addresses are physical unless said. */
export interface Blueprint {
  /** Boot RAM as the chipset has it, whole pages. */
  readonly backedRam: RangeSet;
  /** What firmware leaves the kernel of it, in the ranges in which /proc/iomem lists it. */
  readonly systemRam: readonly PhysicalRange[];
  readonly crashkRes: PhysicalRange | undefined;
  readonly crashkLowRes: PhysicalRange | undefined;
  /** The kernel's image from `_text` to `_end`; `vaddr` is virtual. */
  readonly kernel: { readonly paddr: bigint; readonly vaddr: bigint; readonly size: bigint };
  /** `__va(0)`, virtual. */
  readonly pageOffset: bigint;
  readonly vmcoreinfo: bigint;
  /** `crash_notes` of CPU 0, and the distance to the next CPU's: one per-CPU unit. */
  readonly crashNotes: { readonly base: bigint; readonly stride: bigint };
  /** Pages from which the kernel allocates small objects such as `struct kimage`. */
  readonly heap: bigint;
  /** Where hot-added memory begins. */
  readonly hotBase: bigint;
  readonly paging: Paging;
}

/** What can be chosen of a machine like QEMU's q35. Sizes in bytes. */
export interface Q35Options {
  readonly ram: bigint;
  /** `crashkernel=`; 0 reserves nothing. */
  readonly crash: bigint;
  /** `crashkernel=…,high`: crash memory above 4 GiB, and 256 MiB below it for the capture kernel's devices. */
  readonly high: boolean;
  /** How the kernel maps memory: four levels and pages of 1 GiB, unless said otherwise. */
  readonly paging?: Paging;
}

const MIB = 1n << 20n;
const GIB = 1n << 30n;
const FOUR_GIB = 4n * GIB;
/** pc_q35_init (QEMU hw/i386/pc_q35.c): RAM up to this size lies below the hole as a whole, else 2 GiB of it. */
const LARGEST_LOW = 0xb000_0000n;
/** SeaBIOS keeps this for ACPI tables at the end of low RAM on q35. */
const FIRMWARE = 0x2_4000n;
/** `crashkernel=X,high` reserves at least so much low memory (DEFAULT_CRASH_KERNEL_LOW_SIZE). */
const CRASH_LOW = 256n * MIB;
/** Kernel, notes and heap lie below this. */
const KERNEL_MEMORY_END = 192n * MIB;
/** CRASH_ALIGN of x86. */
const CRASH_ALIGN = 16n * MIB;

const DEFAULT_PAGING: Paging = { levels: 4, gibPages: true };

/** Places inside of the kernel's image, as offsets from `_stext`. */
export const KERNEL_DATA = {
  crashName: 0x1_0004n,
  crashkRes: 0x2_0000n,
  crashkLowRes: 0x2_0060n,
  imagePointer: 0x3_0008n,
  crashNotes: 0x3_0010n,
  perCpuOffset: 0x3_1000n,
  nrPfnMapped: 0x4_0000n,
  pfnMapped: 0x4_0010n,
  perCpuLoad: 0x20_0000n,
} as const;

/**
 * The places of a machine like `qemu-system-x86_64 -M q35 -m RAM` with a Linux kernel booted with `crashkernel=`.
 *
 * @throws {SimulationError} where RAM is no whole number of MiB or too little for crash memory.
 */
export function q35Blueprint({ ram, crash, high, paging = DEFAULT_PAGING }: Q35Options): Blueprint {
  if (ram % MIB !== 0n || crash % MIB !== 0n)
    throw new SimulationError("that machine", "sizes of RAM and crash memory must be whole MiB");
  const low = ram >= LARGEST_LOW ? 2n * GIB : ram;
  const above = ram - low;
  const backed = [halfOpen(0n, low), ...(above > 0n ? [halfOpen(FOUR_GIB, FOUR_GIB + above)] : [])];
  const lowEnd = low - FIRMWARE;
  const reserve = (end: bigint, size: bigint, floor: bigint): PhysicalRange => {
    const top = alignDown(end, CRASH_ALIGN);
    const start = alignDown(top - size, CRASH_ALIGN);
    if (start < floor)
      throw new SimulationError(
        "that machine",
        `there is no room for ${size / MIB} MiB of crash memory, give it more RAM`,
      );
    return halfOpen(start, start + size);
  };
  if (lowEnd < KERNEL_MEMORY_END)
    throw new SimulationError(
      "that machine",
      `it has too little RAM for a kernel, give it at least ${KERNEL_MEMORY_END / MIB + 1n} MiB`,
    );
  const above4G = crash > 0n && high;
  return {
    backedRam: RangeSet.of(backed),
    systemRam: [halfOpen(0x1000n, 0x9_fc00n), halfOpen(MIB, lowEnd), ...backed.slice(1)],
    crashkRes:
      crash === 0n
        ? undefined
        : above4G
          ? reserve(FOUR_GIB + above, crash, FOUR_GIB)
          : reserve(lowEnd, crash, KERNEL_MEMORY_END),
    crashkLowRes: above4G ? reserve(lowEnd, CRASH_LOW, KERNEL_MEMORY_END) : undefined,
    kernel: { paddr: 0x100_0000n, vaddr: 0xffff_ffff_9c00_0000n, size: 0x40_0000n },
    pageOffset: 0xffff_9e3a_0000_0000n,
    vmcoreinfo: 0x800_0000n,
    crashNotes: { base: 0x900_0600n, stride: 0x4_0000n },
    heap: 0x880_0000n,
    // pc_get_device_memory_range (QEMU hw/i386/pc.c): behind RAM, from a whole GiB on.
    hotBase: alignUp(FOUR_GIB + above, GIB),
    paging,
  };
}

/** Crash memory, both parts. */
export function crashMemory({ crashkRes, crashkLowRes }: Blueprint): RangeSet {
  return RangeSet.of([crashkRes, crashkLowRes].filter((range) => range !== undefined));
}

/** Bytes of `crashk_res`, which `/sys/kernel/kexec_crash_size` shows. */
export function crashSize({ crashkRes }: Blueprint): bigint {
  return crashkRes ? rangeBytes(crashkRes) : 0n;
}
