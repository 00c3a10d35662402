/** Half-open ranges of physical addresses. Kernel files are inclusive: enter through `inclusiveRange`. */
import { LayoutError } from "./error.ts";

/** Physical addresses `start <= a < end`. Never empty: `start < end`. */
export interface PhysicalRange {
  readonly start: bigint;
  readonly end: bigint;
}

/** One past the highest physical address: 2^64. */
export const ADDRESS_END: bigint = 1n << 64n;

/**
 * A range from its first address to one past its last.
 *
 * @throws {LayoutError} unless 0 <= start < end <= 2^64.
 */
export function halfOpen(start: bigint, end: bigint): PhysicalRange {
  if (start < 0n || start >= end || end > ADDRESS_END) {
    throw new LayoutError(
      "form a range",
      `[0x${start.toString(16)}, 0x${end.toString(16)})`,
      "is empty or leaves the address space, expected 0 <= start < end <= 2^64",
    );
  }
  return { start, end };
}

/**
 * A range from its first to its last address, as /proc/iomem and struct resource have it.
 *
 * @throws {LayoutError} unless 0 <= first <= last < 2^64.
 */
export function inclusiveRange(first: bigint, last: bigint): PhysicalRange {
  return halfOpen(first, last + 1n);
}

/** The number of bytes in a range. */
export function rangeBytes(range: PhysicalRange): bigint {
  return range.end - range.start;
}

const UNITS: readonly (readonly [bigint, string])[] = [
  [1n << 40n, "TiB"],
  [1n << 30n, "GiB"],
  [1n << 20n, "MiB"],
  [1n << 10n, "KiB"],
];

/**
 * A range for people: `0x880000000-0x8c0000000 (1 GiB)`; the end is exclusive, the size exact.
 */
export function formatRange(range: PhysicalRange): string {
  return `0x${range.start.toString(16)}-0x${range.end.toString(16)} (${formatBytes(rangeBytes(range))})`;
}

/** A number of bytes in the largest binary unit that divides it: `1 GiB`, `1536 MiB`, `7 bytes`. */
export function formatBytes(bytes: bigint): string {
  for (const [size, unit] of UNITS) {
    if (bytes !== 0n && bytes % size === 0n) {
      return `${bytes / size} ${unit}`;
    }
  }
  return bytes === 1n ? "1 byte" : `${bytes} bytes`;
}
