/** What each program header of a core header is there for. */
import { PT_LOAD, PT_NOTE, type CoreHeader, type ProgramHeader } from "./header.ts";

/** `__START_KERNEL_map` of x86-64: virtual addresses from here on are the kernel's image, not the linear map. */
export const KERNEL_MAP_START = 0xffff_ffff_8000_0000n;

const ADDRESS_BITS = 64;

/** The kinds that a core header's program headers fall into. `unknown` is neither PT_NOTE nor PT_LOAD. */
export type ProgramHeaderKind = "cpu-note" | "vmcoreinfo-note" | "kernel-text" | "ram" | "backup" | "unknown";

/** A PT_LOAD that maps the kernel's image at its own virtual address; the memory itself is in a RAM load too. */
export function isKernelText(programHeader: ProgramHeader): boolean {
  return programHeader.p_type === PT_LOAD && programHeader.p_vaddr >= KERNEL_MAP_START;
}

/**
 * A PT_LOAD whose bytes lie elsewhere than the memory that they stand for: kexec-tools has the purgatory copy low
 * memory to a backup region (`p_offset`) before the capture kernel uses it.
 */
export function isBackup(programHeader: ProgramHeader): boolean {
  return (
    programHeader.p_type === PT_LOAD &&
    programHeader.p_offset !== programHeader.p_paddr &&
    !isKernelText(programHeader)
  );
}

/** A PT_LOAD that describes RAM where it is. */
export function isRam(programHeader: ProgramHeader): boolean {
  return programHeader.p_type === PT_LOAD && !isKernelText(programHeader) && !isBackup(programHeader);
}

/** The PT_NOTEs but the last, in their order: one per CPU. */
export function cpuNotes(header: CoreHeader): readonly ProgramHeader[] {
  return notes(header).slice(0, -1);
}

/**
 * The last PT_NOTE, which both loaders use for VMCOREINFO. That it leads to one is seen in memory only
 * (see image/); a header without any PT_NOTE has none.
 */
export function vmcoreinfoNote(header: CoreHeader): ProgramHeader | undefined {
  return notes(header).at(-1);
}

/**
 * The base of the linear map (`__va(0)`, random under KASLR): `p_vaddr - p_paddr` modulo 2^64, on which all
 * non-empty RAM and backup loads must agree.
 *
 * @returns undefined where they disagree or there are none: it cannot be known then.
 */
export function pageOffsetOf(header: CoreHeader): bigint | undefined {
  let pageOffset: bigint | undefined;
  for (const programHeader of header.programHeaders) {
    if (
      programHeader.p_type !== PT_LOAD ||
      programHeader.p_memsz === 0n ||
      programHeader.p_vaddr >= KERNEL_MAP_START
    ) {
      continue;
    }
    const difference = BigInt.asUintN(ADDRESS_BITS, programHeader.p_vaddr - programHeader.p_paddr);
    if (pageOffset !== undefined && pageOffset !== difference) {
      return undefined;
    }
    pageOffset = difference;
  }
  return pageOffset;
}

/** The kind of each program header of `header`, by index. */
export function kindsOf(header: CoreHeader): readonly ProgramHeaderKind[] {
  const last = header.programHeaders.findLastIndex((programHeader) => programHeader.p_type === PT_NOTE);
  return header.programHeaders.map((programHeader, index) => {
    if (programHeader.p_type === PT_NOTE) {
      return index === last ? "vmcoreinfo-note" : "cpu-note";
    }
    if (programHeader.p_type !== PT_LOAD) {
      return "unknown";
    }
    if (isKernelText(programHeader)) {
      return "kernel-text";
    }
    return isBackup(programHeader) ? "backup" : "ram";
  });
}

function notes(header: CoreHeader): readonly ProgramHeader[] {
  return header.programHeaders.filter((programHeader) => programHeader.p_type === PT_NOTE);
}
