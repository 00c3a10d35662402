/** The digest of a located image: where it is, whether it holds, and whether it covers the core header. */
import { rangeBytes } from "../layout/range.ts";
import type { RangeSet } from "../layout/range-set.ts";
import { equalBytes, PAGE_SIZE } from "./bytes.ts";
import { type CaptureCommandLine, findCommandLine } from "./command-line.ts";
import { ImageError } from "./error.ts";
import type { RunningHash, Sha256 } from "./hash.ts";
import { type Kimage, segmentHolding } from "./kimage.ts";
import type { PhysicalMemory } from "./memory.ts";
import {
  computeDigest,
  type DigestRegion,
  encodeRegions,
  findDigest,
  findRegionTables,
  readRegion,
  type RegionTable,
} from "./purgatory.ts";
import { borrowRoom } from "./room.ts";

/** Tables whose regions are hashed before giving up; a real image has one. */
const MAX_TABLES = 4;
/** Bytes that are hashed for them in all: kernel and initrd have some hundred MiB, and OpenSSL takes 4 s for this. */
const MAX_HASHED = 2 * 1024 ** 3;
/** Both loaders' purgatories have 20 to 40 KiB. */
const MAX_PURGATORY = 1024 * 1024;
/** Crash memory that is looked through where no kernel says what lies in it. */
const MAX_CRASH_MEMORY = 1024 ** 3;
/** boot_params take one page, the command line starts behind it: the segment begins at most this far before. */
const BOOT_PARAMS_PAGES = 3;

/** What is known of an image's digest. */
export type DigestFinding =
  | {
      readonly state: "covers-header" | "excludes-header";
      readonly table: RegionTable;
      /** Physical address of the 32 bytes. */
      readonly address: bigint;
      readonly value: Uint8Array;
    }
  | { readonly state: "mismatch"; readonly table: RegionTable }
  | { readonly state: "not-found" };

/**
 * Finds digest and command line of the image whose header lies at `headerAddress`.
 *
 * @param options.known this image's digest from an earlier look: where table and digest are still there, nothing is
 * hashed. @param options.commandLine where it is known already that it names this header.
 */
export async function findDigestOfImage(
  memory: PhysicalMemory,
  sha256: Sha256,
  headerAddress: bigint,
  crashMemory: RangeSet,
  kimage: Kimage | undefined,
  options: {
    readonly known?: DigestFinding | undefined;
    readonly commandLine?: CaptureCommandLine | undefined;
  } = {},
): Promise<{ readonly digest: DigestFinding; readonly commandLine: CaptureCommandLine | undefined }> {
  if (kimage) {
    const { known } = options;
    const commandLine = options.commandLine ?? (await commandLineInSegments(memory, headerAddress, kimage));
    const purgatory = segmentHolding(kimage.segments, kimage.entry);
    if (!purgatory || purgatory.size > MAX_PURGATORY) return { digest: { state: "not-found" }, commandLine };
    const bytes = await memory.read(purgatory.address, purgatory.size);
    if (known && isStillThere(known, bytes, purgatory.address)) return { digest: known, commandLine };
    const moved = segmentHolding(kimage.segments, headerAddress) ? undefined : headerAddress;
    const { segments } = kimage;
    const check = (residual: boolean): Promise<DigestFinding> => {
      const tables = findRegionTables(bytes, purgatory.address, crashMemory, { segments, moved, residual });
      return checkTables(memory, sha256, tables, bytes, purgatory.address, headerAddress);
    };
    const digest = await check(false);
    if ("value" in digest) return { digest, commandLine };
    // An image that was re-armed is listed in part; the end of its table may still look like one of what is listed.
    const residual = await check(true);
    return { digest: residual.state === "not-found" ? digest : residual, commandLine };
  }
  for (const range of crashMemory.ranges) {
    if (rangeBytes(range) > BigInt(MAX_CRASH_MEMORY)) continue;
    const bytes = await memory.read(range.start, Number(rangeBytes(range)));
    const commandLine = findCommandLine(bytes, range.start, headerAddress);
    const anchors = [headerAddress, ...(commandLine ? bootParamsPages(commandLine) : [])];
    const tables = findRegionTables(bytes, range.start, crashMemory, { anchors });
    const digest = await checkTables(memory, sha256, tables, bytes, range.start, headerAddress);
    if (digest.state !== "not-found" || commandLine) return { digest, commandLine };
  }
  return { digest: { state: "not-found" }, commandLine: undefined };
}

/** Whether `bytes`, which were read at `base`, have table and digest where an earlier look found them. */
function isStillThere(known: DigestFinding, bytes: Uint8Array, base: bigint): boolean {
  if (!("value" in known)) return false;
  const { table, address, value } = known;
  return (
    hasAt(bytes, table.address - base, encodeRegions(table.regions)) && hasAt(bytes, address - base, value)
  );
}

function hasAt(bytes: Uint8Array, offset: bigint, wanted: Uint8Array): boolean {
  if (offset < 0n || offset + BigInt(wanted.length) > BigInt(bytes.length)) return false;
  return equalBytes(bytes.subarray(Number(offset), Number(offset) + wanted.length), wanted);
}

async function checkTables(
  memory: PhysicalMemory,
  sha256: Sha256,
  tables: readonly RegionTable[],
  bytes: Uint8Array,
  base: bigint,
  headerAddress: bigint,
): Promise<DigestFinding> {
  // A header has its segment to itself: a table with the header inside of a region is none of this image.
  const fitting = tables.filter((table) => {
    const holding = segmentHolding(usedRegions(table), headerAddress);
    return holding === undefined || holding.address === headerAddress;
  });
  let budget = MAX_HASHED;
  for (const table of fitting.slice(0, MAX_TABLES)) {
    budget -= table.regions.reduce((sum, region) => sum + region.size, 0);
    if (budget < 0) break;
    const value = await computeDigest(memory, sha256, table.regions);
    const address = findDigest(bytes, base, value);
    if (address === undefined) continue;
    const state = segmentHolding(usedRegions(table), headerAddress) ? "covers-header" : "excludes-header";
    return { state, table, address, value };
  }
  // What was too large to be hashed is not proven wrong.
  return fitting[0] && budget >= 0 ? { state: "mismatch", table: fitting[0] } : { state: "not-found" };
}

function usedRegions(table: RegionTable): readonly DigestRegion[] {
  return table.regions.filter((region) => region.size > 0);
}

/** Pages at which the segment that holds the command line may begin. */
function bootParamsPages(commandLine: CaptureCommandLine): readonly bigint[] {
  const page = commandLine.address - (commandLine.address % BigInt(PAGE_SIZE));
  return Array.from({ length: BOOT_PARAMS_PAGES + 1 }, (_, back) => page - BigInt(back * PAGE_SIZE));
}

/** The segment with the command line is small; kernel and initrd, which are large, are not looked through. */
async function commandLineInSegments(
  memory: PhysicalMemory,
  headerAddress: bigint,
  kimage: Kimage,
): Promise<CaptureCommandLine | undefined> {
  using room = borrowRoom(memory);
  for (const segment of kimage.segments.filter((s) => s.size <= 1024 * 1024)) {
    const bytes = await memory.read(segment.address, segment.size, room.bytes);
    const found = findCommandLine(bytes, segment.address, headerAddress);
    if (found) return found;
  }
  return undefined;
}

/**
 * The hash of everything but the header, so that a new header costs a hash over its own segment only.
 *
 * It is taken while the machine runs (crash memory does not change under a loaded image) and kept as long as the
 * image is the same one; the header's region must be the last one in the table for its result to be the digest.
 */
export class DigestPrefix {
  readonly #state: RunningHash;

  private constructor(state: RunningHash) {
    this.#state = state;
  }

  /**
   * Hashes every region but those at the addresses `apart` (the header's; the boot parameters' too, where they change
   * with it), in table order; and, from the same bytes, the digest itself: so the prefix belongs to the image with that
   * digest, whatever the machine did between the two looks.
   *
   * @throws {ImageError} `changed` where the bytes do not give the digest `value`.
   */
  static async compute(
    memory: PhysicalMemory,
    sha256: Sha256,
    { table, value }: { readonly table: RegionTable; readonly value: Uint8Array },
    ...apart: readonly bigint[]
  ): Promise<DigestPrefix> {
    const rest = sha256();
    let whole: RunningHash | undefined;
    for (const region of table.regions) {
      const isApart = region.size > 0 && apart.includes(region.address);
      if (isApart) whole ??= rest.copy();
      for await (const bytes of readRegion(memory, region)) {
        if (!isApart) rest.update(bytes);
        whole?.update(bytes);
      }
    }
    if (!whole || !equalBytes(whole.digest(), value)) {
      throw new ImageError("changed", "The capture image changed while it was being hashed; look again");
    }
    return new DigestPrefix(rest);
  }

  /** The digest with `last` (all bytes of the regions that were left apart, the header's behind all) hashed last. */
  finish(...last: readonly Uint8Array[]): Uint8Array {
    const hash = this.#state.copy();
    for (const bytes of last) hash.update(bytes);
    return hash.digest();
  }
}
