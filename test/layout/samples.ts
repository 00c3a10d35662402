/** A machine for the layout tests: the one behind the golden core headers, and devices to plug into it. */
import { buildCoreHeader, type RamRange } from "../../src/elfcore/build.ts";
import type { CoreHeader } from "../../src/elfcore/header.ts";
import { machineLayoutFromQmp, type MachineLayout } from "../../src/layout/machine.ts";
import type { MemoryDevice } from "../../src/layout/qmp.ts";
import { halfOpen, type PhysicalRange } from "../../src/layout/range.ts";
import { RangeSet } from "../../src/layout/range-set.ts";

export const GIB: bigint = 1n << 30n;
export const PAGE_OFFSET = 0xffff_9e3a_0000_0000n;

/** Boot RAM of 34 GiB: 2 GiB below the hole, 32 GiB from 4 GiB on. */
export const bootRam: RangeSet = RangeSet.of([halfOpen(0n, 2n * GIB), halfOpen(4n * GIB, 36n * GIB)]);

/** Where hot-added memory begins: right behind boot RAM, so that the two touch. */
export const HOT: bigint = 36n * GIB;

/** `count` GiB of hot-pluggable address space, from `first` GiB into it. */
export function hot(first: number, count = 1): PhysicalRange {
  const start = HOT + BigInt(first) * GIB;
  return halfOpen(start, start + BigInt(count) * GIB);
}

/** What a loader describes of boot RAM: kernel-like, without low memory and crash memory. */
export const bootLoads: readonly RamRange[] = [
  { start: 0x10_0000n, end: 0x6900_0000n },
  { start: 0x7900_0000n, end: 0x7ffd_a000n },
  { start: 4n * GIB, end: 36n * GIB },
];

export function headerOf(ram: readonly RamRange[]): CoreHeader {
  return buildCoreHeader({
    cpuNotes: [{ paddr: 0x2_3fc3_8600n, size: 368n }],
    vmcoreinfo: { paddr: 0x1_052f_0000n, size: 4132n },
    kernelText: { paddr: 0x1_1c00_0000n, vaddr: 0xffff_ffff_9c00_0000n, size: 0x342_d000n },
    ram,
    pageOffset: PAGE_OFFSET,
  });
}

export function dimm(range: PhysicalRange, id = "dimm0"): MemoryDevice {
  return {
    kind: "dimm",
    id,
    range,
    region: range,
    slot: 0,
    node: 0,
    memdev: "/objects/mem0",
    hotplugged: true,
    requestedSize: undefined,
    maxSize: undefined,
  };
}

export function layoutWith(memoryDevices: readonly MemoryDevice[], boot: RangeSet = bootRam): MachineLayout {
  return machineLayoutFromQmp({ bootRam: boot, memoryDevices, hotpluggableCpus: [] });
}
