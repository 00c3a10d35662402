/**
 * Purgatory's check: a table of up to 16 regions and the SHA-256 over them, found by content.
 *
 * Both loaders put `struct kexec_sha_region { u64 start, len }[16]` and the 32 bytes of the digest into the
 * purgatory's segment, in no fixed order (facts: kernel arch/x86/purgatory, kexec-tools purgatory/). A panic
 * enters the capture kernel only if the digest over the regions, in table order, equals those 32 bytes.
 */
import type { PhysicalRange } from "../layout/range.ts";
import type { RangeSet } from "../layout/range-set.ts";
import { findBytes, findU64s, PAGE_SIZE, u32, u64 } from "./bytes.ts";
import type { Sha256 } from "./hash.ts";
import type { ImageSegment } from "./kimage.ts";
import type { PhysicalMemory } from "./memory.ts";
import { borrowRoom } from "./room.ts";

/** KEXEC_SEGMENT_MAX of the kernel, SHA256_REGIONS of kexec-tools. */
export const REGION_COUNT = 16;
/** Bytes of the region table. */
export const REGION_TABLE_SIZE: number = REGION_COUNT * 16;
/** Bytes of the digest. */
export const DIGEST_SIZE = 32;

/** Places at which one address is looked for; it stands in a handful. */
const MAX_PLACES = 64;
/** 65,534 program headers take 3.5 MiB, and the largest segment that a loader makes for them has 0.9 MiB. */
export const MAX_HEADER_SEGMENT: number = 4 * 1024 * 1024;

/** Tables that are kept; an image has one, and its tail looks like some more. */
const MAX_TABLES = 256;

/** One entry of the region table; `size` 0 is an unused entry. */
export interface DigestRegion {
  readonly address: bigint;
  readonly size: number;
}

/** Purgatory's region table as it lies in memory. */
export interface RegionTable {
  /** Physical address of the table. */
  readonly address: bigint;
  /** Always 16 entries, unused ones included. */
  readonly regions: readonly DigestRegion[];
}

/** The 256 bytes of a region table. */
export function encodeRegions(regions: readonly DigestRegion[]): Uint8Array {
  const bytes = new Uint8Array(REGION_TABLE_SIZE);
  const view = new DataView(bytes.buffer);
  regions.forEach(({ address, size }, i) => {
    view.setBigUint64(i * 16, address, true);
    view.setBigUint64(i * 16 + 8, BigInt(size), true);
  });
  return bytes;
}

/** Which regions a table may list. */
export interface TableRules {
  /** The image's segments where the kernel told them: then each region is one of them. */
  readonly segments?: readonly ImageSegment[];
  /** The address of a header that has left its segment: then a region may begin there too, outside of them. */
  readonly moved?: bigint | undefined;
  /** Whether regions may be none of the segments, apart from all of them: of an image that was re-armed (rearm.ts). */
  readonly residual?: boolean;
}

/**
 * The region table in `bytes` at `offset`, or undefined where those 256 bytes are not one: each entry unused or
 * page aligned, inside crash memory and apart from the others, and entry 0 in use. (Without the last rule a match
 * some entries early passes, and a panic then hangs: seen on 6.1.)
 */
export function regionTableAt(
  bytes: Uint8Array,
  offset: number,
  crashMemory: RangeSet,
  rules: TableRules = {},
): readonly DigestRegion[] | undefined {
  if (offset < 0 || offset + REGION_TABLE_SIZE > bytes.length) return undefined;
  const regions: DigestRegion[] = [];
  for (let i = 0; i < REGION_COUNT; i++) {
    // Most bytes fail here, where it is cheap.
    if (((u32(bytes, offset + i * 16) | u32(bytes, offset + i * 16 + 8)) & (PAGE_SIZE - 1)) !== 0)
      return undefined;
    const address = u64(bytes, offset + i * 16);
    const size = u64(bytes, offset + i * 16 + 8);
    if (address === 0n && size === 0n) {
      if (i === 0) return undefined;
      regions.push({ address, size: 0 });
      continue;
    }
    if (size === 0n) return undefined;
    const end = address + size;
    if (rules.segments && !isPermitted({ start: address, end }, rules.segments, rules)) return undefined;
    if (!crashMemory.covers({ start: address, end })) return undefined;
    if (regions.some((r) => r.size > 0 && address < r.address + BigInt(r.size) && r.address < end))
      return undefined;
    regions.push({ address, size: Number(size) });
  }
  return regions;
}

function isPermitted(
  { start, end }: PhysicalRange,
  segments: readonly ImageSegment[],
  { moved, residual }: TableRules,
): boolean {
  const touching = segments.filter((s) => start < s.address + BigInt(s.size) && s.address < end);
  if (touching.length === 0)
    return residual === true || (start === moved && end - start <= BigInt(MAX_HEADER_SEGMENT));
  return touching.some((s) => s.address === start && BigInt(s.size) === end - start);
}

/**
 * Region tables in `bytes`, which were read at physical `base`, the fullest first.
 *
 * @param anchors addresses one of which every table must list (the header's, the boot parameters'); without any,
 * every 8-byte step of `bytes` is tried, which is for a purgatory's segment, not for all of crash memory.
 */
export function findRegionTables(
  bytes: Uint8Array,
  base: bigint,
  crashMemory: RangeSet,
  options: TableRules & { readonly anchors?: readonly bigint[] } = {},
): readonly RegionTable[] {
  const tables: RegionTable[] = [];
  const tryAt = (offset: number): void => {
    const regions = regionTableAt(bytes, offset, crashMemory, options);
    if (regions && tables.length < MAX_TABLES) tables.push({ address: base + BigInt(offset), regions });
  };
  if (options.anchors) {
    const offsets = new Set<number>();
    for (const anchor of options.anchors) {
      for (const hit of findU64s(bytes, anchor, MAX_PLACES)) {
        for (let i = 0; i < REGION_COUNT; i++) offsets.add(hit - i * 16);
      }
    }
    for (const offset of offsets) tryAt(offset);
  } else {
    for (let offset = 0; offset + REGION_TABLE_SIZE <= bytes.length; offset += 8) tryAt(offset);
  }
  const used = (table: RegionTable): number => table.regions.filter((r) => r.size > 0).length;
  return tables.sort((a, b) => used(b) - used(a));
}

/** SHA-256 over the regions in table order, as purgatory computes it. */
export async function computeDigest(
  memory: PhysicalMemory,
  sha256: Sha256,
  regions: readonly DigestRegion[],
): Promise<Uint8Array> {
  const hash = sha256();
  for (const region of regions) {
    for await (const bytes of readRegion(memory, region)) hash.update(bytes);
  }
  return hash.digest();
}

/** A region's bytes in pieces, each valid until the next is asked for. */
export async function* readRegion(
  memory: PhysicalMemory,
  { address, size }: DigestRegion,
): AsyncGenerator<Uint8Array> {
  using room = borrowRoom(memory);
  const most = room.bytes.length;
  for (let done = 0; done < size; done += most)
    yield await memory.read(address + BigInt(done), Math.min(most, size - done), room.bytes);
}

/** Physical address of `digest` in `bytes`, which were read at `base`; undefined where it is not there. */
export function findDigest(bytes: Uint8Array, base: bigint, digest: Uint8Array): bigint | undefined {
  const offset = findBytes(bytes, digest, 1)[0];
  return offset === undefined ? undefined : base + BigInt(offset);
}

/** The same regions with the one at `address` behind all others, so that a later change hashes only that one. */
export function withRegionLast(regions: readonly DigestRegion[], address: bigint): readonly DigestRegion[] {
  const used = regions.filter((r) => r.size > 0);
  const last = used.filter((r) => r.address === address);
  const rest = used.filter((r) => r.address !== address);
  const unused = regions.filter((r) => r.size === 0);
  return [...rest, ...last, ...unused];
}
