/** Which segments a re-arm has to list so that nothing else is written, and whether the kernel will take them. */
import { hex } from "../elfcore/hex.ts";
import type { PhysicalRange } from "../layout/range.ts";
import { controlOrders, overlapsSegment, placeControlPages } from "./control-placement.ts";
import type { ImageSegment } from "./kimage.ts";
import { type RearmFacts, unsafe } from "./rearm-image.ts";

/** KEXEC_SEGMENT_MAX, include/uapi/linux/kexec.h. */
const SEGMENT_MAX = 16;

/** `listed`, and what control pages would hit as long as they hit something that is not listed. */
export function listUntilSafe(
  crash: PhysicalRange,
  parts: readonly ImageSegment[],
  listed: readonly ImageSegment[],
  pageTables: number,
): { readonly listed: readonly ImageSegment[]; readonly controlPages: readonly PhysicalRange[] } {
  const closed = [...listed];
  for (;;) {
    const controlPages: PhysicalRange[] = [];
    for (const orders of controlOrders(pageTables)) {
      const places = placeControlPages(crash, closed, orders);
      if (!places)
        throw unsafe(
          `crash memory (${hex(crash.start)}-${hex(crash.end)}) has no room for ${pageTables} page tables and ${orders.length - pageTables} other control pages besides its parts`,
        );
      controlPages.push(...places);
    }
    const hit = parts.find(
      (part) => !closed.includes(part) && controlPages.some((place) => overlapsSegment(place, part)),
    );
    if (!hit) return { listed: closed, controlPages };
    closed.push(hit);
  }
}

/** What the kernel checks with the old image gone already (kimage_alloc_init, sanity_check_segment_list). */
export function checkAccepted(
  crash: PhysicalRange,
  listed: readonly ImageSegment[],
  facts: RearmFacts,
): void {
  if (listed.length > SEGMENT_MAX)
    throw unsafe(`${listed.length} segments would have to be listed, the kernel takes ${SEGMENT_MAX}`);
  for (const { address, size } of listed)
    if (address < crash.start || address + BigInt(size) > crash.end)
      throw unsafe(`its part at ${hex(address)} is not in ${hex(crash.start)}-${hex(crash.end)} as a whole`);
  const bytes = BigInt(listed.reduce((sum, { size }) => sum + size, 0));
  if (bytes > facts.totalRam / 2n)
    throw unsafe(
      `${bytes} bytes would have to be listed, the kernel takes half of its memory (${facts.totalRam})`,
    );
}
