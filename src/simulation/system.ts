/** What the running kernel of a simulated machine knows of the machine at one moment: the source of all its views. */
import type { PhysicalRange } from "../layout/range.ts";
import { RangeSet } from "../layout/range-set.ts";
import { type Blueprint, crashMemory } from "./blueprint.ts";
import { type Dimm, onlineMemory } from "./dimms.ts";
import type { KernelModel } from "./kernels.ts";

/** CPUs by number: `present` of them from 0 on, and `possible` of them. */
export interface CpuCounts {
  readonly present: number;
  readonly possible: number;
}

/** A moment of the running system. */
export interface SystemState {
  readonly blueprint: Blueprint;
  readonly kernel: KernelModel;
  readonly dimms: readonly Dimm[];
  readonly cpus: CpuCounts;
  /** DIMMs that the kernel took at any time since boot: its identity map never loses one (`pfn_mapped`). */
  readonly everAdded?: readonly PhysicalRange[];
}

/** The first MiB, which the kernel never describes (crash_prepare_elf64_headers' callers, 5.10 to 6.19). */
export const LOW_MEGABYTE: RangeSet = RangeSet.of([{ start: 0n, end: 0x10_0000n }]);

/**
 * "System RAM" as /proc/iomem lists it, ascending. ACPI DIMMs are not merged (acpi_memhotplug sets no
 * MHP_MERGE_RESOURCE): each is an entry of its own, from the moment in which it is added, online or not.
 */
export function systemRam({ blueprint, dimms }: SystemState): readonly PhysicalRange[] {
  return [...blueprint.systemRam, ...dimms.filter((dimm) => dimm.added).map((dimm) => dimm.range)];
}

/** `ranges` without what lies in `excluded`, each by itself: neighbours are not joined. */
export function without(ranges: readonly PhysicalRange[], excluded: RangeSet): readonly PhysicalRange[] {
  return ranges.flatMap((range) => RangeSet.of([range]).subtract(excluded).ranges);
}

/** Memory that a dump must have: what the kernel uses, without crash memory and the first MiB. */
export function dumpableMemory({ blueprint, dimms }: SystemState): RangeSet {
  const online = dimms.reduce((sum, dimm) => sum.union(onlineMemory(dimm)), RangeSet.empty);
  return RangeSet.of(blueprint.systemRam)
    .union(online)
    .subtract(LOW_MEGABYTE)
    .subtract(crashMemory(blueprint));
}

/** What the kernel's identity map has: RAM, and what was ever added (pfn_mapped, arch/x86/mm/init.c). */
export function identityMap(system: SystemState): readonly PhysicalRange[] {
  return [...systemRam(system), ...(system.everAdded ?? [])];
}

/** Bytes of `totalram_pages`: RAM without crash memory. */
export function usableRam(system: SystemState): bigint {
  return RangeSet.of(systemRam(system)).subtract(crashMemory(system.blueprint)).bytes;
}
