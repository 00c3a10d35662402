/** Where control pages will go: the kernel's walk, checked against a search through every page. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ImageSegment } from "../../src/image/kimage.ts";
import type { PhysicalRange } from "../../src/layout/range.ts";
import { controlOrders, overlapsSegment, placeControlPages } from "../../src/image/control-placement.ts";

const BASE = 0x3ec0_0000n;
const PAGES = 48;
const at = (page: number): bigint => BASE + BigInt(page) * 4096n;
const crash = { start: BASE, end: at(PAGES) };
const segment = (page: number, pages: number): { address: bigint; size: number } => ({
  address: at(page),
  size: pages * 4096,
});
const pagesOf = (places: ReturnType<typeof placeControlPages>): readonly (readonly [number, number])[] =>
  (places ?? []).map(({ start, end }) => [Number((start - BASE) / 4096n), Number((end - BASE) / 4096n)]);

/** The same, by a look at every page. */
function placesBySearch(
  listed: readonly ImageSegment[],
  orders: readonly (0 | 1)[],
): readonly PhysicalRange[] | undefined {
  const places: PhysicalRange[] = [];
  let page = 0;
  for (const order of orders) {
    const size = 1 << order;
    const range = (): PhysicalRange => ({ start: at(page), end: at(page + size) });
    while (page % size !== 0 || listed.some((s) => overlapsSegment(range(), s))) page++;
    if (page + size > PAGES) return undefined;
    places.push(range());
    page += size;
  }
  return places;
}

describe("control pages", () => {
  test("begin at the bottom, step over what is listed, and never go back", () => {
    expect(pagesOf(placeControlPages(crash, [segment(0, 1), segment(4, 2)], [1, 0, 0, 0]))).toEqual([
      [2, 4],
      [6, 7],
      [7, 8],
      [8, 9],
    ]);
    // One page is free at 1, but the pair took what is behind it.
    expect(pagesOf(placeControlPages(crash, [segment(0, 1), segment(2, 1)], [1, 0]))).toEqual([
      [4, 6],
      [6, 7],
    ]);
  });

  test("are none where the last one finds no hole", () => {
    expect(placeControlPages(crash, [segment(3, PAGES - 3)], [1, 0])).toHaveLength(2);
    expect(placeControlPages(crash, [segment(3, PAGES - 3)], [1, 0, 0])).toBeUndefined();
    expect(placeControlPages(crash, [segment(1, PAGES - 1)], [1])).toBeUndefined();
  });

  test("of a kernel that needs fewer are the first of them, and as many of each form", () => {
    for (const [i, orders] of controlOrders(5).entries()) {
      expect(orders.reduce<number>((sum, order) => sum + (1 << order), 0)).toBe(8);
      const fewer = placeControlPages(crash, [segment(2, 3)], controlOrders(2)[i]!)!;
      expect(placeControlPages(crash, [segment(2, 3)], orders)!.slice(0, fewer.length)).toEqual(fewer);
    }
  });

  test("each take the first free place behind the one before that begins at a multiple of its size", () => {
    const segments = fc
      .array(fc.record({ page: fc.nat(PAGES - 1), pages: fc.integer({ min: 1, max: 9 }) }), { maxLength: 8 })
      .map((list) => list.map(({ page, pages }) => segment(page, Math.min(pages, PAGES - page))));
    fc.assert(
      fc.property(segments, fc.array(fc.constantFrom<0 | 1>(0, 1), { maxLength: 12 }), (listed, orders) => {
        expect(placeControlPages(crash, listed, orders)).toEqual(placesBySearch(listed, orders));
      }),
    );
  });
});
