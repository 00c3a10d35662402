/** The core header that should be, from the one that is and what the machine has. */
import { ramLoad } from "../elfcore/build.ts";
import { PF_RWX, PN_XNUM, type CoreHeader, type ProgramHeader } from "../elfcore/header.ts";
import { isRam, KERNEL_MAP_START, pageOffsetOf } from "../elfcore/kinds.ts";
import { compareWithLayout, loadRange } from "./described.ts";
import { LayoutError } from "./error.ts";
import { hotpluggableRegions, type MachineLayout } from "./machine.ts";
import { formatRange, type PhysicalRange } from "./range.ts";
import { RangeSet } from "./range-set.ts";

const ACTION = "make the core header that should be";

/**
 * The header that describes what `header` describes, and what is missing, and nothing that is stale.
 *
 * - File header, notes, kernel text, backup loads and unknown program headers stay as they are, in their order;
 *   a backup load stays even where its memory is called stale, for only its loader knows what it copies.
 * - A RAM load that loses nothing and grows nowhere keeps all its fields; one that loses memory becomes the loads
 *   of what is left of it.
 * - Missing memory grows an adjacent load of hot-plugged memory, joins two of them, or becomes a load of its own.
 *   Loads of boot RAM never grow, and loads that touch already are not joined.
 * - RAM loads behind the last other program header are in ascending order, so that memory added above all other
 *   only appends.
 *
 * @returns `header` itself where it is accurate; so applying this twice gives the same as once.
 * @throws {LayoutError} where memory is missing and the linear map's base cannot be known (the loads disagree, or
 *   there are none); where a load's virtual address would reach the kernel's image; or where more program headers
 *   would be needed than a core header can have. Never guesses.
 */
export function wantedHeader(header: CoreHeader, layout: MachineLayout): CoreHeader {
  const { missing, stale } = compareWithLayout(header, layout);
  const kept = withoutStale(header.programHeaders, stale);
  if (missing.isEmpty && kept === header.programHeaders) {
    return header;
  }
  const programHeaders = missing.isEmpty
    ? arranged(kept, [])
    : withMissing(kept, missing, hotpluggableRegions(layout), knownPageOffset(header, missing));
  checkCount(programHeaders.length);
  return { fileHeader: header.fileHeader, programHeaders };
}

/** `programHeaders` itself where no RAM load loses anything. */
function withoutStale(programHeaders: readonly ProgramHeader[], stale: RangeSet): readonly ProgramHeader[] {
  const kept: ProgramHeader[] = [];
  let changed = false;
  for (const programHeader of programHeaders) {
    const range = isRam(programHeader) ? loadRange(programHeader) : undefined;
    if (range === undefined || !stale.overlaps(range)) {
      kept.push(programHeader);
      continue;
    }
    changed = true;
    for (const piece of RangeSet.of([range]).subtract(stale)) {
      kept.push(narrowed(programHeader, piece));
    }
    // A forged header may have thousands of loads that overlap, each of which falls into as many pieces.
    checkCount(kept.length);
  }
  return changed ? kept : programHeaders;
}

/** A RAM load cut to a part of it; its own distance from physical to virtual stays. */
function narrowed(programHeader: ProgramHeader, piece: PhysicalRange): ProgramHeader {
  const { p_flags, p_align, p_vaddr, p_paddr } = programHeader;
  return { ...linearLoad(piece, p_vaddr - p_paddr), p_flags, p_align };
}

function withMissing(
  kept: readonly ProgramHeader[],
  missing: RangeSet,
  regions: RangeSet,
  pageOffset: bigint,
): readonly ProgramHeader[] {
  const slots: (ProgramHeader | undefined)[] = [...kept];
  const byStart = new Map<bigint, number>();
  const byEnd = new Map<bigint, number>();
  for (const [index, programHeader] of kept.entries()) {
    const range = growableRange(programHeader, regions);
    if (range !== undefined) {
      byStart.set(range.start, index);
      byEnd.set(range.end, index);
    }
  }
  const added: ProgramHeader[] = [];
  for (const range of missing) {
    const below = byEnd.get(range.start);
    const above = byStart.get(range.end);
    const start = startOf(slots, below) ?? range.start;
    const end = endOf(slots, above) ?? range.end;
    const load = linearLoad({ start, end }, pageOffset);
    const slot = below ?? above;
    if (slot === undefined) {
      added.push(load);
      continue;
    }
    if (above !== undefined) {
      slots[above] = undefined;
    }
    slots[slot] = load;
    // What has grown may grow again: the next missing range may begin where the upper neighbour ended.
    byEnd.set(end, slot);
  }
  return arranged(
    slots.filter((slot) => slot !== undefined),
    added,
  );
}

/** The range of a load that may grow: of hot-plugged memory, and in the form in which loads are written here. */
function growableRange(programHeader: ProgramHeader, regions: RangeSet): PhysicalRange | undefined {
  const { p_flags, p_align, p_filesz, p_memsz } = programHeader;
  if (!isRam(programHeader) || p_flags !== PF_RWX || p_align !== 0n || p_filesz !== p_memsz) {
    return undefined;
  }
  const range = loadRange(programHeader);
  return range !== undefined && regions.covers(range) ? range : undefined;
}

function startOf(
  slots: readonly (ProgramHeader | undefined)[],
  index: number | undefined,
): bigint | undefined {
  return index === undefined ? undefined : slots[index]?.p_paddr;
}

function endOf(slots: readonly (ProgramHeader | undefined)[], index: number | undefined): bigint | undefined {
  const slot = index === undefined ? undefined : slots[index];
  return slot === undefined ? undefined : slot.p_paddr + slot.p_memsz;
}

/** All up to the last program header that is no RAM load as it is, then the RAM loads behind it and the added. */
function arranged(kept: readonly ProgramHeader[], added: readonly ProgramHeader[]): readonly ProgramHeader[] {
  const split = kept.findLastIndex((programHeader) => !isRam(programHeader)) + 1;
  const loads = [...kept.slice(split), ...added].sort(byPhysicalAddress);
  return [...kept.slice(0, split), ...loads];
}

function byPhysicalAddress(a: ProgramHeader, b: ProgramHeader): number {
  if (a.p_paddr === b.p_paddr) {
    return 0;
  }
  return a.p_paddr < b.p_paddr ? -1 : 1;
}

function linearLoad(range: PhysicalRange, pageOffset: bigint): ProgramHeader {
  const load = ramLoad(range, pageOffset);
  if (load.p_vaddr >= KERNEL_MAP_START) {
    throw new LayoutError(
      ACTION,
      formatRange(range),
      `would have the virtual address 0x${load.p_vaddr.toString(16)}, expected one below the kernel's image ` +
        `(0x${KERNEL_MAP_START.toString(16)})`,
    );
  }
  return load;
}

function knownPageOffset(header: CoreHeader, missing: RangeSet): bigint {
  const pageOffset = pageOffsetOf(header);
  if (pageOffset === undefined) {
    throw new LayoutError(
      ACTION,
      missing.toString(),
      "cannot be given a virtual address: the header's PT_LOADs do not agree on the base of the linear map " +
        "(p_vaddr - p_paddr), or there are none",
    );
  }
  return pageOffset;
}

function checkCount(count: number): void {
  if (count >= PN_XNUM) {
    throw new LayoutError(ACTION, "e_phnum", `would be ${count}, expected at most ${PN_XNUM - 1}`);
  }
}
