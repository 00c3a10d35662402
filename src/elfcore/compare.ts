/** What differs between two core headers, program header by program header. */
import { E_PHNUM_OFFSET, type CoreHeader, type ProgramHeader } from "./header.ts";
import { kindsOf, type ProgramHeaderKind } from "./kinds.ts";

/** A program header that only one of the two has. */
export interface ProgramHeaderEntry {
  readonly kind: ProgramHeaderKind;
  /** Its place among the program headers of the core header that has it. */
  readonly index: number;
  readonly programHeader: ProgramHeader;
}

/** A program header that both have, about the same thing, with other values. */
export interface ProgramHeaderChange {
  readonly kind: ProgramHeaderKind;
  readonly before: ProgramHeader;
  readonly after: ProgramHeader;
}

/** The difference from one core header to another. */
export interface CoreHeaderDifference {
  /** True exactly where both encode to the same bytes. */
  readonly equal: boolean;
  /** The file header differs in a byte outside `e_phnum`. */
  readonly fileHeaderChanged: boolean;
  /** Program headers that both have stand in another order. */
  readonly reordered: boolean;
  readonly added: readonly ProgramHeaderEntry[];
  readonly removed: readonly ProgramHeaderEntry[];
  readonly changed: readonly ProgramHeaderChange[];
}

/**
 * Compares two core headers.
 *
 * Two program headers are about the same thing where kind and `p_paddr` agree; VMCOREINFO and the kernel's text
 * exist once, so for them the kind is enough. Doubled ones are matched in their order.
 *
 * @param before - the header as it was.
 * @param after - the header as it is, or should be.
 *
 * @returns what only one of them has, what both have with other values, and whether both encode to the same bytes.
 * @example
 * ```ts
 * import { buildCoreHeader, compareCoreHeaders } from "kdump-hotplug";
 *
 * const rest = { cpuNotes: [{ paddr: 0x1000n, size: 4096n }], vmcoreinfo: undefined, kernelText: undefined, pageOffset: 0n };
 * const before = buildCoreHeader({ ...rest, ram: [{ start: 0x100000n, end: 0x8000_0000n }] });
 * const after = buildCoreHeader({ ...rest, ram: [{ start: 0x100000n, end: 0x8000_0000n }, { start: 1n << 32n, end: 5n << 30n }] });
 * const { added, removed } = compareCoreHeaders(before, after);
 * console.log(added.map(({ kind, index }) => `${kind} ${index}`).join(), removed.length); // ram 2 0
 * ```
 */
export function compareCoreHeaders(before: CoreHeader, after: CoreHeader): CoreHeaderDifference {
  const waiting = new Map<string, ProgramHeaderEntry[]>();
  for (const entry of entriesOf(before).toReversed()) {
    const key = identity(entry);
    const queue = waiting.get(key);
    if (queue === undefined) {
      waiting.set(key, [entry]);
    } else {
      queue.push(entry);
    }
  }
  const added: ProgramHeaderEntry[] = [];
  const changed: ProgramHeaderChange[] = [];
  let reordered = false;
  let lastMatched = -1;
  for (const entry of entriesOf(after)) {
    const match = waiting.get(identity(entry))?.pop();
    if (match === undefined) {
      added.push(entry);
      continue;
    }
    reordered ||= match.index < lastMatched;
    lastMatched = Math.max(lastMatched, match.index);
    if (!sameProgramHeader(match.programHeader, entry.programHeader)) {
      changed.push({ kind: entry.kind, before: match.programHeader, after: entry.programHeader });
    }
  }
  const removed = [...waiting.values()].flat().sort((a, b) => a.index - b.index);
  const fileHeaderChanged = !sameFileHeader(before.fileHeader, after.fileHeader);
  const equal =
    !fileHeaderChanged && !reordered && added.length === 0 && removed.length === 0 && changed.length === 0;
  return { equal, fileHeaderChanged, reordered, added, removed, changed };
}

/** Whether all fields of two program headers agree. */
export function sameProgramHeader(a: ProgramHeader, b: ProgramHeader): boolean {
  return (
    a.p_type === b.p_type &&
    a.p_flags === b.p_flags &&
    a.p_offset === b.p_offset &&
    a.p_vaddr === b.p_vaddr &&
    a.p_paddr === b.p_paddr &&
    a.p_filesz === b.p_filesz &&
    a.p_memsz === b.p_memsz &&
    a.p_align === b.p_align
  );
}

function entriesOf(header: CoreHeader): readonly ProgramHeaderEntry[] {
  const kinds = kindsOf(header);
  return header.programHeaders.map((programHeader, index) => ({
    kind: kinds[index] ?? "unknown",
    index,
    programHeader,
  }));
}

function identity({ kind, programHeader }: ProgramHeaderEntry): string {
  return kind === "vmcoreinfo-note" || kind === "kernel-text" ? kind : `${kind} ${programHeader.p_paddr}`;
}

/** `e_phnum` follows from the program headers when a header is encoded, so its two bytes do not count here. */
function sameFileHeader(a: Uint8Array, b: Uint8Array): boolean {
  return (
    a.length === b.length &&
    a.every(
      (byte, offset) => byte === b[offset] || offset === E_PHNUM_OFFSET || offset === E_PHNUM_OFFSET + 1,
    )
  );
}
