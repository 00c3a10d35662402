/** What a core header describes, against what the machine has. */
import { PT_LOAD, type CoreHeader, type ProgramHeader } from "../elfcore/header.ts";
import { isKernelText } from "../elfcore/kinds.ts";
import { memoryToDescribe, type MachineLayout } from "./machine.ts";
import { halfOpen, type PhysicalRange } from "./range.ts";
import { RangeSet } from "./range-set.ts";

/** How a core header differs from the layout; both empty where it is accurate. */
export interface LayoutDifference {
  /** Memory that must be described and is not: a dump would lack it. */
  readonly missing: RangeSet;
  /** Memory that is described and does not exist: a dump would claim it. */
  readonly stale: RangeSet;
}

/**
 * The memory that a header's RAM PT_LOADs cover, with that of backup loads where it really lies (`p_paddr`).
 * The kernel's text is inside RAM anyway and does not count by itself. The size is `p_memsz`, which /proc/vmcore
 * trusts.
 *
 * @throws {LayoutError} where a load leaves the address space; a decoded header has none such.
 */
export function describedMemory(header: CoreHeader): RangeSet {
  return RangeSet.of(
    header.programHeaders
      .filter((programHeader) => programHeader.p_type === PT_LOAD && !isKernelText(programHeader))
      .map(loadRange)
      .filter((range) => range !== undefined),
  );
}

/**
 * Compares what a header describes with what the machine has.
 *
 * Boot RAM was right when the header was made and does not change, so boot RAM that is not described (crash
 * memory, firmware) is not missing.
 */
export function compareWithLayout(header: CoreHeader, layout: MachineLayout): LayoutDifference {
  const described = describedMemory(header);
  return {
    missing: memoryToDescribe(layout).subtract(described),
    stale: described.subtract(layout.backed),
  };
}

/** Physical memory that a PT_LOAD stands for; undefined where it is empty. */
export function loadRange(programHeader: ProgramHeader): PhysicalRange | undefined {
  const { p_paddr, p_memsz } = programHeader;
  return p_memsz === 0n ? undefined : halfOpen(p_paddr, p_paddr + p_memsz);
}
