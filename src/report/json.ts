/** Values as `--json` prints them: addresses as hex strings, sizes as numbers where those are exact. */
import type { PhysicalRange } from "../layout/range.ts";
import type { RangeSet } from "../layout/range-set.ts";

/** Version of every `--json` document; it changes when a field changes its meaning or goes. */
export const SCHEMA_VERSION = 1;

/** A range in JSON; `end` is exclusive. */
export interface JsonRange {
  readonly start: string;
  readonly end: string;
  readonly bytes: number | string;
}

/** `0x…`. */
export function jsonAddress(address: bigint): string {
  return `0x${address.toString(16)}`;
}

/** A number where it is exact in a double, else a decimal string. */
export function jsonBytes(bytes: bigint): number | string {
  return bytes <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(bytes) : bytes.toString();
}

export function jsonRange({ start, end }: PhysicalRange): JsonRange {
  return { start: jsonAddress(start), end: jsonAddress(end), bytes: jsonBytes(end - start) };
}

export function jsonRanges(ranges: RangeSet): readonly JsonRange[] {
  return ranges.ranges.map(jsonRange);
}
