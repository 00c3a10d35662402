import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LayoutError } from "../../src/layout/error.ts";
import { halfOpen, type PhysicalRange } from "../../src/layout/range.ts";
import { RangeSet } from "../../src/layout/range-set.ts";

/** Addresses 0 to 63 of the model, one bit each. */
const SPAN = 64;

const smallRange: fc.Arbitrary<PhysicalRange> = fc
  .tuple(fc.nat({ max: SPAN - 1 }), fc.integer({ min: 1, max: 12 }))
  .map(([start, length]) => halfOpen(BigInt(start), BigInt(Math.min(SPAN, start + length))));

const someRanges = fc.array(smallRange, { maxLength: 10 });
const someSet = someRanges.map((ranges) => RangeSet.of(ranges));

function bitmapOf(ranges: Iterable<PhysicalRange>): readonly boolean[] {
  const bits = Array.from({ length: SPAN }, () => false);
  for (const { start, end } of ranges) {
    bits.fill(true, Number(start), Number(end));
  }
  return bits;
}

function combined(a: RangeSet, b: RangeSet, rule: (a: boolean, b: boolean) => boolean): readonly boolean[] {
  const [left, right] = [bitmapOf(a), bitmapOf(b)];
  return left.map((bit, address) => rule(bit, right[address] === true));
}

function isNormal(set: RangeSet): boolean {
  return set.ranges.every(({ start, end }, index) => {
    const before = set.ranges[index - 1];
    return start < end && (before === undefined || before.end < start);
  });
}

describe("RangeSet against a bitmap", () => {
  test("holds what it was made of, in normal form", () => {
    fc.assert(
      fc.property(someRanges, (ranges) => {
        const set = RangeSet.of(ranges);
        expect(bitmapOf(set)).toEqual(bitmapOf(ranges));
        expect(isNormal(set)).toBe(true);
        expect(set.bytes).toBe(BigInt(bitmapOf(ranges).filter(Boolean).length));
        expect(set.isEmpty).toBe(ranges.length === 0);
      }),
    );
  });

  test.each([
    ["union", (a: boolean, b: boolean) => a || b],
    ["subtract", (a: boolean, b: boolean) => a && !b],
    ["intersect", (a: boolean, b: boolean) => a && b],
  ] as const)("%s is the bits' own", (operation, rule) => {
    fc.assert(
      fc.property(someSet, someSet, (a, b) => {
        const result = a[operation](b);
        expect(bitmapOf(result)).toEqual(combined(a, b, rule));
        expect(isNormal(result)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  test("contains, covers and overlaps look at the bits", () => {
    fc.assert(
      fc.property(someSet, smallRange, (set, range) => {
        const bits = bitmapOf(set);
        const inside = bits.slice(Number(range.start), Number(range.end));
        expect(bits.map((_, address) => set.contains(BigInt(address)))).toEqual(bits);
        expect(set.covers(range)).toBe(inside.every(Boolean));
        expect(set.overlaps(range)).toBe(inside.some(Boolean));
      }),
    );
  });

  test("sets are equal exactly where their bits are", () => {
    fc.assert(
      fc.property(someSet, someSet, (a, b) => {
        const bitsEqual = bitmapOf(a).every((bit, address) => bit === bitmapOf(b)[address]);
        expect(a.equals(b)).toBe(bitsEqual);
        expect(a.equals(a.subtract(b).union(a.intersect(b)))).toBe(true);
      }),
    );
  });

  test("no operation changes its operands", () => {
    fc.assert(
      fc.property(someSet, someSet, (a, b) => {
        const before = [[...a], [...b]];
        a.union(b);
        a.subtract(b);
        a.intersect(b);
        expect([[...a], [...b]]).toEqual(before);
      }),
    );
  });
});

describe("RangeSet", () => {
  test("merges ranges that touch", () => {
    const set = RangeSet.of([halfOpen(4n, 6n), halfOpen(0n, 4n)]);
    expect(set.ranges).toEqual([halfOpen(0n, 6n)]);
  });

  test("reaches to the end of the address space", () => {
    const top = halfOpen((1n << 64n) - 1n, 1n << 64n);
    const set = RangeSet.of([top]);
    expect(set.contains((1n << 64n) - 1n)).toBe(true);
    expect(set.contains(1n << 64n)).toBe(false);
    expect(set.covers(top)).toBe(true);
  });

  test("refuses a range that is none", () => {
    expect(() => RangeSet.of([{ start: 1n, end: 1n }])).toThrow(LayoutError);
  });

  test("reads well", () => {
    const set = RangeSet.of([halfOpen(0n, 1n << 30n), halfOpen(1n << 32n, 3n << 31n)]);
    expect(RangeSet.empty.toString()).toBe("nothing");
    expect(String(set)).toBe("0x0-0x40000000 (1 GiB), 0x100000000-0x180000000 (2 GiB); 3 GiB in all");
    expect(String(RangeSet.of([halfOpen(0n, 1n)]))).toBe("0x0-0x1 (1 byte)");
  });

  test("takes 100,000 ranges", () => {
    const COUNT = 100_000;
    const comb = (shift: bigint): readonly PhysicalRange[] =>
      Array.from({ length: COUNT }, (_, index) => {
        const start = BigInt(index) * 4n + shift;
        return halfOpen(start, start + 2n);
      });
    const even = RangeSet.of(comb(0n).toReversed());
    const odd = RangeSet.of(comb(2n));
    expect(even.union(odd).ranges).toEqual([halfOpen(0n, BigInt(COUNT) * 4n)]);
    expect(even.intersect(odd).isEmpty).toBe(true);
    expect(even.subtract(odd).equals(even)).toBe(true);
    expect(even.contains(399_996n)).toBe(true);
    expect(even.contains(399_998n)).toBe(false);
  });
});
