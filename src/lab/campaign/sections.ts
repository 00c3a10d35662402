/**
 * Which memory a kernel has online, as its own section map has it: read from outside, also when that kernel is dead.
 *
 * Neither /proc/iomem nor QEMU says it: the kernel lists a DIMM before its blocks are online, and QEMU does not know.
 * A section (128 MiB) is marked online at the end of its `online_pages` (include/linux/mmzone.h, SECTION_IS_ONLINE).
 * The map is found as makedumpfile finds it, by VMCOREINFO.
 */
import { u64 } from "../../image/bytes.ts";
import type { PhysicalMemory } from "../../image/memory.ts";
import { symbolOf, type VmcoreInfo } from "../../image/vmcoreinfo.ts";
import type { PhysicalRange } from "../../layout/range.ts";
import { RangeSet } from "../../layout/range-set.ts";
import { MeasurementError } from "../errors.ts";

/** SECTION_SIZE_BITS of x86-64 (arch/x86/include/asm/sparsemem.h). */
const SECTION_BITS = 27n;
const SECTION_BYTES = 1n << SECTION_BITS;
/** SECTION_IS_ONLINE (the same bit in v5.10, v6.1 and v6.12). */
const IS_ONLINE = 4n;
/** A root of the map is one page (SECTIONS_PER_ROOT). */
const ROOT_BYTES = 4096;

/** Where a kernel has its section map. */
export interface SectionMap {
  /** Physical address of the array of pointers to roots. */
  readonly roots: bigint;
  /** Base of the linear mapping. */
  readonly pageOffset: bigint;
  /** `sizeof(struct mem_section)`. */
  readonly size: number;
  /** Offset of `section_mem_map` in it, whose low bits are flags. */
  readonly flags: number;
  /** How many roots there are. */
  readonly count: number;
}

/**
 * The section map that VMCOREINFO names.
 *
 * `SYMBOL(mem_section)` is what the pointer holds, not where it lies: a0b1280368d1 ("kdump: write correct address of
 * mem_section into vmcoreinfo") (in v4.15).
 *
 * @throws {MeasurementError} where an entry is not there.
 */
export function sectionMapOf(info: VmcoreInfo, pageOffset: bigint): SectionMap {
  const decimal = (key: string): number => {
    const text = info.entries.get(key);
    if (text === undefined || !/^\d{1,9}$/.test(text))
      throw new MeasurementError(`The guest's VMCOREINFO has ${key}=${text}, expected a number`);
    return Number(text);
  };
  const virtual = symbolOf(info, "mem_section");
  if (virtual === undefined || virtual < pageOffset)
    throw new MeasurementError("The guest's VMCOREINFO does not say where mem_section is");
  return {
    roots: virtual - pageOffset,
    pageOffset,
    size: decimal("SIZE(mem_section)"),
    flags: decimal("OFFSET(mem_section.section_mem_map)"),
    count: decimal("LENGTH(mem_section)"),
  };
}

/** The sections in `where` that are online. @throws what `memory` throws where the map is not RAM. */
export async function onlineSections(
  memory: PhysicalMemory,
  map: SectionMap,
  where: Iterable<PhysicalRange>,
): Promise<RangeSet> {
  const perRoot = Math.floor(ROOT_BYTES / map.size);
  const online: PhysicalRange[] = [];
  for (const { start, end } of where) {
    for (let section = start >> SECTION_BITS; section << SECTION_BITS < end; section++) {
      const root = Number(section) / perRoot;
      if (root >= map.count) break;
      const pointer = u64(await memory.read(map.roots + BigInt(8 * Math.floor(root)), 8), 0);
      if (pointer < map.pageOffset) continue;
      const entry = pointer - map.pageOffset + BigInt((Number(section) % perRoot) * map.size + map.flags);
      if ((u64(await memory.read(entry, 8), 0) & IS_ONLINE) === 0n) continue;
      online.push({ start: section << SECTION_BITS, end: (section << SECTION_BITS) + SECTION_BYTES });
    }
  }
  return RangeSet.of(online);
}
