/** `struct kimage`: the kernel's own account of the capture image that is loaded. */
import type { RangeSet } from "../layout/range-set.ts";
import { PAGE_SIZE, u64 } from "./bytes.ts";
import type { PhysicalMemory } from "./memory.ts";

/** One segment of a capture image in crash memory. */
export interface ImageSegment {
  /** Physical address, page aligned. */
  readonly address: bigint;
  /** Bytes that it occupies, a multiple of the page size. */
  readonly size: number;
}

/** What is believed of a `struct kimage` once every check has passed. */
export interface Kimage {
  /** Physical address of the structure. */
  readonly address: bigint;
  /** Physical address at which the purgatory is entered. */
  readonly entry: bigint;
  readonly segments: readonly ImageSegment[];
}

// Offsets on x86-64: the same on 5.10, 6.1 and 6.12 (read off running kernels), checked by content each time.
const START = 24;
const NR_SEGMENTS = 56;
const SEGMENTS = 64;
const SEGMENT_SIZE = 32;
/** KEXEC_SEGMENT_MAX, include/uapi/linux/kexec.h. */
const SEGMENT_MAX = 16;
/** Bytes of the structure that are looked at: its head and all 16 segments. */
export const KIMAGE_SPAN: number = SEGMENTS + SEGMENT_MAX * SEGMENT_SIZE;

/**
 * The `struct kimage` at physical `address`, or undefined where the bytes there are not one of a capture image:
 * entry inside a segment, 1 to 16 segments, each page aligned, inside `crashMemory` and apart from the others.
 */
export async function readKimage(
  memory: PhysicalMemory,
  address: bigint,
  crashMemory: RangeSet,
): Promise<Kimage | undefined> {
  const head = await memory.read(address, SEGMENTS);
  const count = segmentCount(head, crashMemory);
  if (count === undefined) return undefined;
  const table = await memory.read(address + BigInt(SEGMENTS), count * SEGMENT_SIZE);
  return parseSegments(address, head, table, crashMemory);
}

/**
 * Whether the allocator has written into the structure at `address` since it was made, as it does when it is freed: the
 * kernel clears it (kzalloc), lists `count` segments and leaves the rest alone; a freed one of kmalloc-1k has the
 * allocator's pointer in its middle (SLUB, since 3202fa62fb43, v5.7), where a fifteenth segment would be.
 */
export async function looksFreed(memory: PhysicalMemory, { address, segments }: Kimage): Promise<boolean> {
  const unused = (SEGMENT_MAX - segments.length) * SEGMENT_SIZE;
  if (unused === 0) return false;
  const bytes = await memory.read(address + BigInt(kimageBytes(segments.length)), unused);
  return bytes.some((byte) => byte !== 0);
}

/** Bytes of a `struct kimage` with `count` segments, as far as they matter here. */
export function kimageBytes(count: number): number {
  return SEGMENTS + count * SEGMENT_SIZE;
}

/** {@link readKimage} of bytes that were read at `address`; undefined too where they end before the last segment. */
export function parseKimage(address: bigint, bytes: Uint8Array, crashMemory: RangeSet): Kimage | undefined {
  const count = segmentCount(bytes, crashMemory);
  if (count === undefined || bytes.length < kimageBytes(count)) return undefined;
  return parseSegments(address, bytes, bytes.subarray(SEGMENTS, kimageBytes(count)), crashMemory);
}

function segmentCount(head: Uint8Array, crashMemory: RangeSet): number | undefined {
  const count = Number(u64(head, NR_SEGMENTS));
  return count < 1 || count > SEGMENT_MAX || !crashMemory.contains(u64(head, START)) ? undefined : count;
}

function parseSegments(
  address: bigint,
  head: Uint8Array,
  table: Uint8Array,
  crashMemory: RangeSet,
): Kimage | undefined {
  const entry = u64(head, START);
  const segments: ImageSegment[] = [];
  for (let i = 0; i < table.length / SEGMENT_SIZE; i++) {
    const start = u64(table, i * SEGMENT_SIZE + 16);
    const size = u64(table, i * SEGMENT_SIZE + 24);
    if (size === 0n || (start | size) % BigInt(PAGE_SIZE) !== 0n) return undefined;
    if (!crashMemory.covers({ start, end: start + size })) return undefined;
    if (
      segments.some((other) => start < other.address + BigInt(other.size) && other.address < start + size)
    ) {
      return undefined;
    }
    segments.push({ address: start, size: Number(size) });
  }
  return segmentHolding(segments, entry) ? { address, entry, segments } : undefined;
}

/** The segment in which physical `address` lies. */
export function segmentHolding(segments: readonly ImageSegment[], address: bigint): ImageSegment | undefined {
  return segments.find((s) => s.address <= address && address < s.address + BigInt(s.size));
}
