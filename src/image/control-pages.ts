/**
 * How far the control pages of a loaded image reach: the code and the page tables with which a panic leaves the kernel,
 * and the copy of VMCOREINFO. They lie in crash memory, and no segment says so.
 *
 * `kimage_alloc_crash_control_pages` (kernel/kexec_core.c, 5.10 to 6.12) takes each from the lowest hole between the
 * segments that begins behind the one before, and keeps in `control_page` where the last one ends: its last byte on
 * 5.10 and 6.1, the byte behind it on 6.12, which rounded up to whole pages is the same. So none lies above it.
 * It adds none of them to the image's list `control_pages`: that one is for images of a plain kexec, and stays empty.
 */
import type { PhysicalRange } from "../layout/range.ts";
import { alignUp, PAGE_SIZE, u64 } from "./bytes.ts";
import { type Kimage, KIMAGE_SPAN } from "./kimage.ts";
import { MemoryAccessError, type PhysicalMemory } from "./memory.ts";

/** Bytes behind the segments in which the lists are looked for: kmalloc gives a `struct kimage` 1 or 2 KiB. */
const SEARCHED = 1024;
/** `control_pages`, `dest_pages`, `unusable_pages`: three `struct list_head`, right before `control_page`. */
const LISTS = 3;
const LIST_HEAD = 16;
/** An order-1 allocation is the first one of all: control code and the page table's root. */
const FEWEST_BYTES = 2 * PAGE_SIZE;

/**
 * The first address in `crash` behind all control pages, whole pages; undefined where that cannot be known.
 *
 * The place of `control_page` differs between kernels with what they keep before it, so it is not assumed: the three
 * lists before it are empty in an image of kdump, that is, each points to itself, which nothing else does.
 *
 * @param pageOffset `__va(0)`, for the pointers. @param crash the range of crash memory that holds the image.
 */
export async function readControlPagesEnd(
  memory: PhysicalMemory,
  kimage: Kimage,
  pageOffset: bigint,
  crash: PhysicalRange,
): Promise<bigint | undefined> {
  const start = kimage.address + BigInt(KIMAGE_SPAN);
  const bytes = await memory.read(start, SEARCHED).catch(unlessMissing);
  const value = bytes && controlPageIn(bytes, pageOffset + start);
  if (value === undefined) return undefined;
  const end = alignUp(value, BigInt(PAGE_SIZE));
  return end < crash.start + BigInt(FEWEST_BYTES) || end > crash.end ? undefined : end;
}

/** Where RAM ends behind a structure that calls itself a kimage, nothing is known. */
function unlessMissing(error: unknown): undefined {
  if (!(error instanceof MemoryAccessError)) throw error;
  return undefined;
}

/** `control_page` behind the three empty lists in `bytes`, which lie at virtual address `base`. */
export function controlPageIn(bytes: Uint8Array, base: bigint): bigint | undefined {
  for (let at = 0; at + LISTS * LIST_HEAD + 8 <= bytes.length; at += 8) {
    let empty = true;
    for (let list = 0; list < LISTS && empty; list++) {
      const place = at + list * LIST_HEAD;
      const self = base + BigInt(place);
      empty = u64(bytes, place) === self && u64(bytes, place + 8) === self;
    }
    if (empty) return u64(bytes, at + LISTS * LIST_HEAD);
  }
  return undefined;
}
