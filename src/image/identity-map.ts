/**
 * How many page tables a kexec_load takes from crash memory: those of the identity map with which a panic leaves the kernel.
 *
 * `init_pgtable` (arch/x86/kernel/machine_kexec_64.c, v5.10 to v6.13; from v6.14 on with the root as one more of them)
 * maps every range of `pfn_mapped`, the listed segments, EFI's system table and the ACPI tables, with pages of 2 MiB,
 * or of 1 GiB where the processor has them (`direct_gbpages`). Each table is one control page (`alloc_pgt_page`). The
 * three or four tables that map the jump itself (`init_transition_pgtable`) come from ordinary memory.
 */
import { rangeBytes, type PhysicalRange } from "../layout/range.ts";
import { RangeSet } from "../layout/range-set.ts";
import type { IomemEntry } from "../layout/iomem.ts";
import { alignDown, alignUp, u64 } from "./bytes.ts";

/** What the number of page tables depends on. */
export interface PagingFacts {
  /**
   * Memory in the kernel's identity map. `pfn_mapped` grows with each hot-added range and never shrinks: what was removed
   * since boot is still mapped, and must be in here.
   */
  readonly mapped: readonly PhysicalRange[];
  /** 5 where the kernel runs with five-level page tables (`la57` in /proc/cpuinfo). */
  readonly levels: 4 | 5;
  /** Whether the kernel maps with pages of 1 GiB (`pdpe1gb` in /proc/cpuinfo, and no `nogbpages`). */
  readonly gibPages: boolean;
}

const GIB = 1n << 30n;
/** What one page of the third level maps, and one of the fourth. */
const PUD_TABLE = 512n * GIB;
const P4D_TABLE = 512n * PUD_TABLE;
/** Firmware's tables lie below this, whatever /proc/iomem calls them. */
const LOW: PhysicalRange = { start: 0n, end: 4n * GIB };
/** EFI's system table may lie by itself above: a table of each level, and a second last one where it crosses a GiB. */
const FAR_SYSTEM_TABLE = 4;

/** Lines of /proc/iomem that `map_acpi_tables` looks for (IORES_DESC_ACPI_TABLES, IORES_DESC_ACPI_NV_STORAGE). */
const ACPI_NAMES: ReadonlySet<string> = new Set(["ACPI Tables", "ACPI Non-volatile Storage"]);

/**
 * The most page tables below the root that the kernel can need for `facts`.
 *
 * With pages of 1 GiB a kernel up to v6.12 needs no tables of the last level at all; later ones use such a page only
 * where all of its GiB is to be mapped (cc31744a294584, "x86/mm/ident_map: Use gbpages only where full GB page should
 * be mapped"), so each GiB in which a range begins or ends inside counts.
 */
export function mostPageTables({ mapped, levels, gibPages }: PagingFacts): number {
  const all = [LOW, ...mapped.filter((range) => range.end > range.start)];
  const last = gibPages ? [LOW, ...all.flatMap(partialGibs)] : all;
  return (
    FAR_SYSTEM_TABLE +
    tables(last, GIB) +
    tables(all, PUD_TABLE) +
    (levels === 5 ? tables(all, P4D_TABLE) : 0)
  );
}

/**
 * What /proc/iomem says of {@link PagingFacts.mapped}: RAM, and the ACPI tables. What was removed since boot it does not say.
 */
export function identityMapped(entries: readonly IomemEntry[]): readonly PhysicalRange[] {
  return entries
    .filter(({ name }) => name.includes("System RAM") || ACPI_NAMES.has(name))
    .map(({ range }) => range);
}

/** Bytes of a `struct range` (include/linux/range.h): u64 start, u64 end, here page frames, the end exclusive. */
export const PFN_RANGE_SIZE = 16;

/** `nr_pfn_mapped` entries of `pfn_mapped` (arch/x86/mm/init.c) as addresses: all that was ever mapped. */
export function parsePfnMapped(bytes: Uint8Array): readonly PhysicalRange[] {
  const ranges: PhysicalRange[] = [];
  for (let at = 0; at + PFN_RANGE_SIZE <= bytes.length; at += PFN_RANGE_SIZE)
    ranges.push({ start: u64(bytes, at) << 12n, end: u64(bytes, at + 8) << 12n });
  return ranges;
}

/** Tables that each map `span` bytes, for all of `ranges`. */
function tables(ranges: readonly PhysicalRange[], span: bigint): number {
  const spans = RangeSet.of(
    ranges.map(({ start, end }) => ({ start: alignDown(start, span), end: alignUp(end, span) })),
  );
  return spans.ranges.reduce((sum, range) => sum + Number(rangeBytes(range) / span), 0);
}

/** The GiBs at the ends of `range` that it does not fill. */
function partialGibs({ start, end }: PhysicalRange): readonly PhysicalRange[] {
  return [
    { start: alignDown(start, GIB), end: alignUp(start, GIB) },
    { start: alignDown(end, GIB), end: alignUp(end, GIB) },
  ].filter((gib) => gib.end > gib.start);
}
