/** Fewer program headers for the same memory: RAM loads that touch become one, where a header would not fit otherwise. */
import type { CoreHeader, ProgramHeader } from "./header.ts";
import { isRam } from "./kinds.ts";

/**
 * `header` with at most `most` program headers, or undefined where joining loads does not get it there.
 *
 * Two RAM loads are joined where the second begins at the first one's end, both lie at the same distance from their
 * virtual addresses, flags and alignment agree, and both have `p_filesz` = `p_memsz`: then one load says the same.
 * Loaders write one for each entry of /proc/iomem, and what they wrote is left alone as long as it fits: no more
 * loads are joined than are needed, the highest first, because that is where hot-added memory is. A joined load
 * stands where the lower one stood.
 *
 * @returns `header` itself where it fits.
 */
export function joinedToFit(header: CoreHeader, most: number): CoreHeader | undefined {
  const { programHeaders } = header;
  let excess = programHeaders.length - most;
  if (excess <= 0) return header;
  const slots: (ProgramHeader | undefined)[] = [...programHeaders];
  const byEnd = new Map<bigint, number>();
  const ascending: number[] = [];
  for (const [index, load] of programHeaders.entries()) {
    if (!isJoinable(load)) continue;
    byEnd.set(load.p_paddr + load.p_memsz, index);
    ascending.push(index);
  }
  ascending.sort((a, b) => (programHeaders[a]!.p_paddr < programHeaders[b]!.p_paddr ? -1 : 1));
  for (const upper of ascending.toReversed()) {
    if (excess <= 0) break;
    const load = slots[upper];
    const lower = load && byEnd.get(load.p_paddr);
    const below = lower === undefined ? undefined : slots[lower];
    if (!load || lower === undefined || !below || lower === upper || !sayTheSame(below, load)) continue;
    const size = below.p_memsz + load.p_memsz;
    slots[lower] = { ...below, p_filesz: size, p_memsz: size };
    slots[upper] = undefined;
    excess--;
  }
  if (excess > 0) return undefined;
  return { fileHeader: header.fileHeader, programHeaders: slots.filter((slot) => slot !== undefined) };
}

function isJoinable(load: ProgramHeader): boolean {
  return isRam(load) && load.p_memsz > 0n && load.p_filesz === load.p_memsz;
}

/** Whether all but place and size of two loads agree. */
function sayTheSame(below: ProgramHeader, above: ProgramHeader): boolean {
  return (
    below.p_flags === above.p_flags &&
    below.p_align === above.p_align &&
    below.p_vaddr - below.p_paddr === above.p_vaddr - above.p_paddr
  );
}
