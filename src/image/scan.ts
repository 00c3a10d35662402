/** One pass over physical memory that notes the pages where a core header or a VMCOREINFO note may begin. */
import type { PhysicalRange } from "../layout/range.ts";
import { PAGE_SIZE, u32 } from "./bytes.ts";
import type { PhysicalMemory } from "./memory.ts";
import { borrowRoom } from "./room.ts";

/** A machine has a handful of either kind of page. More than this is a machine that wants to keep us busy. */
const MAX_CANDIDATES = 4096;

const ELF_MAGIC = 0x464c457f;
/** `e_type` ET_CORE and `e_machine` EM_X86_64, as one little-endian u32 at offset 16. */
const CORE_X86_64 = 0x003e0004;
/** `n_namesz` of a VMCOREINFO note: the name with its NUL. */
const VMCOREINFO_NAMESZ = 11;
/** "VMCO", "REIN": the first 8 bytes of the name, at offset 12. */
const VMCO = 0x4f434d56;
const REIN = 0x4e494552;

/** Page addresses, ascending within each range in the order in which the ranges were given. */
export interface ScanResult {
  readonly coreHeaders: readonly bigint[];
  readonly vmcoreinfoNotes: readonly bigint[];
  /** False where more than 4096 pages looked like core headers, or like notes: some are not listed. */
  readonly complete: boolean;
}

/**
 * Looks at the first bytes of every page of `ranges`.
 *
 * Both structures start on a page: kexec places segments on pages, and the kernel allocates
 * `vmcoreinfo_note` with `alloc_pages_exact()` (kernel/crash_core.c).
 * Pages that only look like them are not held against the machine: any user of it can fill some.
 */
export async function scanPages(
  memory: PhysicalMemory,
  ranges: readonly PhysicalRange[],
): Promise<ScanResult> {
  const coreHeaders: bigint[] = [];
  const vmcoreinfoNotes: bigint[] = [];
  let complete = true;
  using room = borrowRoom(memory);
  const most = room.bytes.length;
  const note = (list: bigint[], address: bigint): void => {
    if (list.length < MAX_CANDIDATES) list.push(address);
    else complete = false;
  };
  for (const range of ranges) {
    const first = (range.start + BigInt(PAGE_SIZE - 1)) & ~BigInt(PAGE_SIZE - 1);
    for (let at = first; at + BigInt(PAGE_SIZE) <= range.end; at += BigInt(most)) {
      const left = range.end - at;
      const bytes = await memory.read(at, left < BigInt(most) ? Number(left) : most, room.bytes);
      for (let page = 0; page + PAGE_SIZE <= bytes.length; page += PAGE_SIZE) {
        if (looksLikeCoreHeader(bytes, page)) {
          note(coreHeaders, at + BigInt(page));
        } else if (
          u32(bytes, page) === VMCOREINFO_NAMESZ &&
          u32(bytes, page + 12) === VMCO &&
          u32(bytes, page + 16) === REIN
        ) {
          note(vmcoreinfoNotes, at + BigInt(page));
        }
      }
    }
  }
  return { coreHeaders, vmcoreinfoNotes, complete };
}

/** Whether a core header may begin at `offset`: magic, `e_type` and `e_machine` are right. */
export function looksLikeCoreHeader(bytes: Uint8Array, offset: number): boolean {
  return u32(bytes, offset) === ELF_MAGIC && u32(bytes, offset + 16) === CORE_X86_64;
}
