/**
 * A place in crash memory that nothing uses, and the capture kernel's map of memory without it.
 *
 * Free is what no segment of the image has, what lies above its control pages, and what the capture kernel would take
 * as its own RAM. That last part keeps us away from whatever else a loader has left out of the map on purpose; and as
 * the map loses the place, the capture kernel keeps away from it as it does from the header's first place
 * (`memmap_exclude_ranges`, arch/x86/kernel/crash.c).
 */
import { hex } from "../elfcore/hex.ts";
import type { PhysicalRange } from "../layout/range.ts";
import { RangeSet } from "../layout/range-set.ts";
import { E820_MAX, E820_RAM, type E820Entry, overlaps } from "./boot-params.ts";
import { alignDown, alignUp, PAGE_SIZE } from "./bytes.ts";
import type { ImageSegment } from "./kimage.ts";

const PAGE = BigInt(PAGE_SIZE);

/** What a search for a free place knows of an image. */
export interface Occupation {
  /** The range of crash memory that holds the image. */
  readonly crash: PhysicalRange;
  readonly segments: readonly ImageSegment[];
  /** The first address behind all control pages; nothing below is free. */
  readonly controlPagesEnd: bigint;
  /** The capture kernel's. */
  readonly map: readonly E820Entry[];
}

/** A place, and the map of memory without it. */
export interface FreePlace {
  readonly place: PhysicalRange;
  readonly map: readonly E820Entry[];
}

/**
 * The highest free place of `size` bytes (whole pages), far from the control pages, which begin at the bottom.
 *
 * @returns where there is none, why: words that complete "…, because …".
 */
export function findFreePlace(occupation: Occupation, size: number): FreePlace | string {
  const { crash, segments, controlPagesEnd, map } = occupation;
  const taken = segments.map((segment) => ({
    start: segment.address,
    end: segment.address + BigInt(segment.size),
  }));
  const low = { start: crash.start, end: controlPagesEnd };
  if (low.end > low.start) taken.push(low);
  const free = RangeSet.of([crash]).subtract(RangeSet.of(taken));
  const bytes = BigInt(size);
  let reason = `no ${size} bytes of crash memory (${hex(crash.start)}-${hex(crash.end)}) are free`;
  for (const entry of map.filter(({ type }) => type === E820_RAM).sort(byStartDescending)) {
    const end = entry.start + entry.size;
    if (entry.size === 0n || end > 1n << 64n) continue;
    for (const hole of free.intersect(RangeSet.of([{ start: entry.start, end }])).ranges.toReversed()) {
      const top = alignDown(hole.end, PAGE);
      const bottom = alignUp(hole.start, PAGE);
      if (top - bottom < bytes) continue;
      for (const start of [top - bytes, bottom]) {
        const place = { start, end: start + bytes };
        const without = withoutPlace(map, place);
        if (typeof without !== "string") return { place, map: without };
        reason = without;
      }
    }
  }
  return reason;
}

/**
 * `map` without `place`, which must lie in one RAM entry and touch no other entry.
 *
 * @returns where that is not so, or the map has no room for the entry that falls in two, why.
 */
export function withoutPlace(map: readonly E820Entry[], place: PhysicalRange): readonly E820Entry[] | string {
  const touching = map.filter((entry) => overlaps(entry, place));
  const [entry] = touching;
  const where = `${hex(place.start)}-${hex(place.end)}`;
  if (!entry || touching.length > 1 || entry.type !== E820_RAM)
    return `the capture kernel's map of memory contradicts itself at ${where}`;
  const end = entry.start + entry.size;
  if (entry.start > place.start || end < place.end)
    return `the capture kernel's map of memory has not all of ${where}`;
  const rest = [
    { ...entry, size: place.start - entry.start },
    { ...entry, start: place.end, size: end - place.end },
  ].filter(({ size }) => size > 0n);
  if (map.length - 1 + rest.length > E820_MAX)
    return `the capture kernel's map of memory is full (${map.length} entries)`;
  return map.flatMap((other) => (other === entry ? rest : [other]));
}

function byStartDescending(a: E820Entry, b: E820Entry): number {
  if (a.start === b.start) return 0;
  return a.start > b.start ? -1 : 1;
}
