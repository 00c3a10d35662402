/**
 * Where the kernel will put the control pages of a kexec_load: proven before the call, for it writes them whatever lies there.
 *
 * `kimage_alloc_crash_control_pages` (kernel/kexec_core.c, v5.10, v6.1, v6.12) takes each from the lowest hole in
 * `crashk_res` behind the one before that no *listed* segment covers. What is still resident there and not listed, it does
 * not know of.
 */
import type { PhysicalRange } from "../layout/range.ts";
import { alignUp, PAGE_SIZE } from "./bytes.ts";
import type { ImageSegment } from "./kimage.ts";

/**
 * Orders of the allocations in their order, for `pageTables` tables below the root: up to v6.13 code and root are one
 * allocation of two pages (KEXEC_CONTROL_PAGE_SIZE), from v6.14 on ("x86/kexec: Allocate PGD for x86_64 transition
 * page tables separately") each is a page; the copy of VMCOREINFO is the last (kimage_crash_copy_vmcoreinfo). Which of
 * the two a kernel does is not asked: both must be safe.
 *
 * Each allocation begins behind the one before, so that a kernel that needs fewer takes the first of these and no others.
 */
export function controlOrders(pageTables: number): readonly (readonly (0 | 1)[])[] {
  const tables = Array<0>(pageTables).fill(0);
  return [
    [1, ...tables, 0],
    [0, 0, ...tables, 0],
  ];
}

/**
 * The places of allocations of `orders` in `crash` (all of `crashk_res`), where the kernel is told of `listed`.
 *
 * @returns undefined where one finds no hole: the kernel says ENOMEM, with the old image gone already.
 */
export function placeControlPages(
  crash: PhysicalRange,
  listed: readonly ImageSegment[],
  orders: readonly (0 | 1)[],
): readonly PhysicalRange[] | undefined {
  const places: PhysicalRange[] = [];
  let behind = crash.start;
  for (const order of orders) {
    const place = firstHole(crash, listed, behind, BigInt(PAGE_SIZE << order));
    if (!place) return undefined;
    places.push(place);
    behind = place.end;
  }
  return places;
}

/** A hole steps to the end of a segment that it overlaps, rounded up to its own size; that is not every hole there is. */
function firstHole(
  crash: PhysicalRange,
  listed: readonly ImageSegment[],
  from: bigint,
  size: bigint,
): PhysicalRange | undefined {
  let start = alignUp(from, size);
  while (start + size <= crash.end) {
    const hole = { start, end: start + size };
    const hit = listed.find((segment) => overlapsSegment(hole, segment));
    if (!hit) return hole;
    start = alignUp(hit.address + BigInt(hit.size), size);
  }
  return undefined;
}

/** Whether `range` has any byte of `segment`. */
export function overlapsSegment(range: PhysicalRange, segment: ImageSegment): boolean {
  return range.start < segment.address + BigInt(segment.size) && segment.address < range.end;
}
