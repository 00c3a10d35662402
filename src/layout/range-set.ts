/** Sets of physical addresses, as sorted ranges. Built for 100,000 ranges: merges are linear, look-ups binary. */
import { formatBytes, formatRange, halfOpen, rangeBytes, type PhysicalRange } from "./range.ts";

/**
 * An immutable set of physical addresses.
 *
 * `ranges` is always normal: ascending, disjoint, and not adjacent (what touches is one range). So two sets hold
 * the same addresses exactly where their `ranges` are equal.
 *
 * @example
 * ```ts
 * import { halfOpen, RangeSet } from "kdump-hotplug";
 *
 * const ram = RangeSet.of([halfOpen(0x1000n, 0x2000n), halfOpen(0x2000n, 0x3000n)]);
 * console.log(ram.ranges.length, ram.bytes); // 1 8192n
 * console.log(ram.subtract(RangeSet.of([halfOpen(0x1800n, 0x1900n)])).toString()); // 0x1000-0x1800 (2 KiB), 0x1900-0x3000 (5888 bytes); 7936 bytes in all
 * ```
 */
export class RangeSet implements Iterable<PhysicalRange> {
  /** The set without any address. */
  static readonly empty: RangeSet = new RangeSet([]);

  /** Ascending, disjoint, not adjacent. */
  readonly ranges: readonly PhysicalRange[];

  private constructor(ranges: readonly PhysicalRange[]) {
    this.ranges = ranges;
  }

  /**
   * The set of all addresses in `ranges`, which may be in any order, overlap and touch.
   *
   * @throws {LayoutError} where one of them is empty or leaves the address space.
   */
  static of(ranges: Iterable<PhysicalRange>): RangeSet {
    const sorted = Array.from(ranges, ({ start, end }) => halfOpen(start, end)).sort(byStart);
    return RangeSet.#from(merged(sorted));
  }

  /** Total number of addresses, which is bytes. */
  get bytes(): bigint {
    return this.ranges.reduce((sum, range) => sum + rangeBytes(range), 0n);
  }

  get isEmpty(): boolean {
    return this.ranges.length === 0;
  }

  [Symbol.iterator](): Iterator<PhysicalRange> {
    return this.ranges[Symbol.iterator]();
  }

  /** Addresses in either set. */
  union(other: RangeSet): RangeSet {
    if (other.isEmpty) {
      return this;
    }
    return this.isEmpty ? other : RangeSet.#from(merged(interleave(this.ranges, other.ranges)));
  }

  /** Addresses in this set that are not in `other`. */
  subtract(other: RangeSet): RangeSet {
    const result: PhysicalRange[] = [];
    const holes = other.ranges;
    let next = other.#firstEndingAfter(this.ranges[0]?.start ?? 0n);
    for (const range of this.ranges) {
      let start = range.start;
      for (; next < holes.length; next++) {
        const hole = holes[next]!;
        if (hole.start >= range.end) {
          break;
        }
        if (hole.start > start) {
          result.push({ start, end: hole.start });
        }
        if (hole.end > start) {
          start = hole.end;
        }
        if (hole.end > range.end) {
          break;
        }
      }
      if (start < range.end) {
        result.push({ start, end: range.end });
      }
    }
    return RangeSet.#from(result);
  }

  /** Addresses in both sets. */
  intersect(other: RangeSet): RangeSet {
    const result: PhysicalRange[] = [];
    let left = this.#firstEndingAfter(other.ranges[0]?.start ?? 0n);
    let right = other.#firstEndingAfter(this.ranges[0]?.start ?? 0n);
    while (left < this.ranges.length && right < other.ranges.length) {
      const a = this.ranges[left]!;
      const b = other.ranges[right]!;
      const start = a.start > b.start ? a.start : b.start;
      const end = a.end < b.end ? a.end : b.end;
      if (start < end) {
        result.push({ start, end });
      }
      if (a.end < b.end) {
        left++;
      } else {
        right++;
      }
    }
    return RangeSet.#from(result);
  }

  /** Whether `address` is in the set. */
  contains(address: bigint): boolean {
    const range = this.ranges[this.#firstEndingAfter(address)];
    return range !== undefined && range.start <= address;
  }

  /** Whether every address of `range` is in the set. */
  covers(range: PhysicalRange): boolean {
    const found = this.ranges[this.#firstEndingAfter(range.start)];
    return found !== undefined && found.start <= range.start && range.end <= found.end;
  }

  /** Whether any address of `range` is in the set. */
  overlaps(range: PhysicalRange): boolean {
    const found = this.ranges[this.#firstEndingAfter(range.start)];
    return found !== undefined && found.start < range.end;
  }

  /** Whether both sets hold the same addresses. */
  equals(other: RangeSet): boolean {
    return (
      this.ranges.length === other.ranges.length &&
      this.ranges.every((range, index) => {
        const counterpart = other.ranges[index]!;
        return range.start === counterpart.start && range.end === counterpart.end;
      })
    );
  }

  /** For people: `0x0-0x80000000 (2 GiB), 0x100000000-0x140000000 (1 GiB); 3 GiB in all`, or `nothing`. */
  toString(): string {
    if (this.isEmpty) {
      return "nothing";
    }
    const list = this.ranges.map(formatRange).join(", ");
    return this.ranges.length === 1 ? list : `${list}; ${formatBytes(this.bytes)} in all`;
  }

  /** Index of the first range whose end lies after `address`; `ranges.length` where there is none. */
  #firstEndingAfter(address: bigint): number {
    let low = 0;
    let high = this.ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.ranges[middle]!.end > address) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }

  /** A set of ranges that are already normal. */
  static #from(ranges: readonly PhysicalRange[]): RangeSet {
    return ranges.length === 0 ? RangeSet.empty : new RangeSet(ranges);
  }
}

function byStart(a: PhysicalRange, b: PhysicalRange): number {
  if (a.start === b.start) {
    return 0;
  }
  return a.start < b.start ? -1 : 1;
}

/** Two ascending lists as one. */
function interleave(a: readonly PhysicalRange[], b: readonly PhysicalRange[]): readonly PhysicalRange[] {
  const result: PhysicalRange[] = [];
  let right = 0;
  for (const range of a) {
    while (right < b.length && b[right]!.start < range.start) {
      result.push(b[right++]!);
    }
    result.push(range);
  }
  while (right < b.length) {
    result.push(b[right++]!);
  }
  return result;
}

/** Ascending ranges with those that overlap or touch made one. */
function merged(sorted: readonly PhysicalRange[]): readonly PhysicalRange[] {
  const result: PhysicalRange[] = [];
  let last: PhysicalRange | undefined;
  for (const range of sorted) {
    if (last === undefined || range.start > last.end) {
      result.push(range);
      last = range;
    } else if (range.end > last.end) {
      last = { start: last.start, end: range.end };
      result[result.length - 1] = last;
    }
  }
  return result;
}
