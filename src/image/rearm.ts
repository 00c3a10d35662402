/**
 * Plans a re-arm: one kexec_load (KEXEC_ON_CRASH) that lists only what changes, over the rest of the old image, which stays in
 * crash memory where it is.
 *
 * The call drops the old image before it checks anything (do_kexec_load, kernel/kexec.c, v5.10 to v6.12: kimage_free of
 * `kexec_crash_image`, then kimage_alloc_init), so whatever could make it fail, and whatever it could overwrite, is found out
 * here. It writes the listed segments, each filled up with zeros, and control pages into the lowest holes between them,
 * whatever lies there. So header, purgatory and all small segments are listed, and whatever a control page would
 * hit (control-placement.ts), with its own bytes: what is then left out nothing writes to.
 *
 * The old purgatory stays the entry, with its new region table and digest: it goes on checking all of the image, and copying
 * low memory where its loader had it do so.
 */
import { encodeCoreHeader } from "../elfcore/encode.ts";
import { type CoreHeader, programHeaderRoom } from "../elfcore/header.ts";
import { hex } from "../elfcore/hex.ts";
import { joinedToFit } from "../elfcore/join.ts";
import type { PhysicalRange } from "../layout/range.ts";
import { equalBytes } from "./bytes.ts";
import { overlapsSegment } from "./control-placement.ts";
import { DigestPrefix } from "./digest.ts";
import type { RunningHash, Sha256 } from "./hash.ts";
import { mostPageTables } from "./identity-map.ts";
import { type ImageSegment, type Kimage, segmentHolding } from "./kimage.ts";
import type { CaptureImage } from "./locate.ts";
import type { PhysicalMemory } from "./memory.ts";
import { placeSize, planMove } from "./move.ts";
import { planInstall, type PlannedWrite } from "./plan.ts";
import { type DigestRegion, readRegion, regionTableAt } from "./purgatory.ts";
import { type KnownDigest, type RearmFacts, understand, unsafe } from "./rearm-image.ts";
import { checkAccepted, listUntilSafe } from "./rearm-placement.ts";
import { imageSegments } from "./residual.ts";
import { looksLikeCoreHeader } from "./scan.ts";

/** KEXEC_ON_CRASH, include/uapi/linux/kexec.h. */
export const KEXEC_ON_CRASH = 1;
/**
 * KEXEC_UPDATE_ELFCOREHDR (since a72bbec70da2, v6.6; EINVAL before): the kernel's own handler goes on rewriting the header.
 * x86 takes it on every later kernel, KEXEC_CRASH_HOTPLUG_SUPPORT (8) only from v6.10 on.
 */
export const KEXEC_UPDATE_ELFCOREHDR = 4;
/** Segments up to this size are always listed: copying them costs nothing, and some lie where control pages go. */
const SMALL_SEGMENT = 64 * 1024;

/** One segment of the call. */
export interface RearmSegment extends ImageSegment {
  /** Its content; up to `size` the kernel fills it up with zeros. */
  readonly bytes: Uint8Array;
}

/** What the call does not mention and the image needs. */
export interface ResidualRegion extends ImageSegment {
  readonly sha256: Uint8Array;
}

/** Hashes of an image, so that its next re-arm hashes the header alone. */
export interface RearmHashes {
  /** Of the images that they are good for: the one that was planned for, and what the plan makes of it. */
  readonly digests: readonly Uint8Array[];
  readonly prefix: DigestPrefix | undefined;
  /** By {@link regionKey}. */
  readonly regions: ReadonlyMap<string, Uint8Array>;
}

/** A re-arm that is safe as long as {@link confirmRearm} finds what it was made for. */
export interface RearmPlan {
  /** Physical address of the old purgatory. */
  readonly entry: bigint;
  /** Flags of kexec_load, without the architecture's. */
  readonly flags: number;
  /** The range of crash memory in which the image lies (`crashk_res`). */
  readonly crash: PhysicalRange;
  /** As {@link RearmFacts} has it: what the kernel measures the segments against. */
  readonly totalRam: bigint;
  /** At most 16; the header is the last, which is the one that the kernel's own handler takes. */
  readonly segments: readonly RearmSegment[];
  /** Every place where the kernel may put a control page, for the most of them that it can need. */
  readonly controlPages: readonly PhysicalRange[];
  readonly residual: readonly ResidualRegion[];
  readonly headerAddress: bigint;
  /** What the header will say. */
  readonly header: CoreHeader;
  /** Table and digest as they will be: with it and `headerAddress`, what to expect of the next look. */
  readonly digest: KnownDigest;
  /** Hashes of the image as it is, and as it will be. */
  readonly hashes: RearmHashes;
  /** The image that it was made for, and bytes of it that must still be there. */
  readonly madeFor: {
    readonly image: CaptureImage;
    readonly kimage: Kimage;
    readonly bytes: readonly { readonly address: bigint; readonly before: Uint8Array }[];
  };
}

/** What {@link planRearm} can be told besides. */
export interface RearmOptions {
  /** From the plan by which the image was re-armed, or prepared: spares hashing it. */
  readonly hashes?: RearmHashes | undefined;
  /** Program headers for which the header's segment is to have room; the header is moved where it has not. Default 0. */
  readonly room?: number;
}

/**
 * Plans the installation of `wanted` into `image` by one kexec_load. Nothing is written.
 *
 * A header that outgrows its segment gets another place, which the boot parameters then name (move.ts); loads that
 * touch are joined first where that is enough.
 *
 * @throws {ImageError} `not-loaded` where no kernel says that the image is loaded; `forged` where its digest does not
 * hold; `panicking`; `unsafe-rearm` where no safe placement exists or can be proven; `header-too-large` where the header
 * finds no place; `changed` where the image changed meanwhile. In each case a load in full over the old image is left.
 */
export async function planRearm(
  memory: PhysicalMemory,
  sha256: Sha256,
  image: CaptureImage,
  wanted: CoreHeader,
  facts: RearmFacts,
  { hashes, room = 0 }: RearmOptions = {},
): Promise<RearmPlan> {
  const { kimage, digest, crash, purgatory } = understand(image, facts);
  const known = hashes?.digests.some((each) => equalBytes(each, digest.value)) === true ? hashes : undefined;
  const capacity = programHeaderRoom(image.headerCapacity);
  const inPlace = room <= capacity && joinedToFit(wanted, capacity) !== undefined;
  const covers = digest.state === "covers-header";
  const prefix =
    covers && inPlace
      ? (known?.prefix ?? (await DigestPrefix.compute(memory, sha256, digest, image.headerAddress)))
      : undefined;
  const { writes } = inPlace
    ? await planInstall(memory, image, wanted, prefix)
    : await planMove(memory, sha256, image, wanted, room);
  const header: ImageSegment = inPlace
    ? { address: image.headerAddress, size: image.headerCapacity }
    : { address: addressOf(writes), size: placeSize(wanted.programHeaders.length, room) };
  const after = digestAfter(image, digest, writes);

  const parts = await partsOf(memory, image, kimage, digest, after.table.regions, header);
  const hasHeaderAddress = ({ address }: ImageSegment): boolean => address === header.address;
  const isChecked = ({ address }: ImageSegment): boolean =>
    after.table.regions.some((region) => region.size > 0 && region.address === address);
  const listed = parts.filter(
    (part) =>
      hasHeaderAddress(part) ||
      part.address === purgatory.address ||
      part.size <= SMALL_SEGMENT ||
      !isChecked(part) ||
      writes.some(({ address }) => segmentHolding([part], address) !== undefined),
  );
  const closed = listUntilSafe(crash, parts, listed, mostPageTables(facts));
  checkAccepted(crash, closed.listed, facts);

  const segments: RearmSegment[] = [];
  for (const part of [...closed.listed.filter((p) => !hasHeaderAddress(p)), header])
    segments.push({ ...part, bytes: await contentOf(memory, part, writes) });
  const regions = new Map(known?.regions);
  const residual: ResidualRegion[] = [];
  for (const part of parts.filter((p) => !closed.listed.includes(p))) {
    const key = regionKey(part);
    const hash = regions.get(key) ?? (await hashRegion(memory, sha256, part));
    regions.set(key, hash);
    residual.push({ ...part, sha256: hash });
  }
  const purgatoryBytes = await memory.read(purgatory.address, purgatory.size);
  return {
    entry: kimage.entry,
    flags: KEXEC_ON_CRASH | (!covers && facts.updatesElfcorehdr ? KEXEC_UPDATE_ELFCOREHDR : 0),
    crash,
    totalRam: facts.totalRam,
    segments,
    controlPages: closed.controlPages,
    residual,
    headerAddress: header.address,
    header: wanted,
    digest: after,
    hashes: { digests: [digest.value, after.value], prefix, regions },
    madeFor: {
      image,
      kimage,
      bytes: [
        { address: purgatory.address, before: purgatoryBytes },
        { address: image.headerAddress, before: encodeCoreHeader(image.header) },
        ...writes.map(({ address, before }) => ({ address, before })),
      ],
    },
  };
}

function addressOf(writes: readonly PlannedWrite[]): bigint {
  const header = writes.find(({ what }) => what === "header");
  if (!header) throw new TypeError("A move writes a header");
  return header.address;
}

/** Table and digest with `writes` in them. */
function digestAfter(image: CaptureImage, digest: KnownDigest, writes: readonly PlannedWrite[]): KnownDigest {
  const table = writes.find(({ what }) => what === "region-table");
  const value = writes.find(({ what }) => what === "digest");
  const regions = table ? regionTableAt(table.after, 0, image.crashMemory) : digest.table.regions;
  if (!regions) throw unsafe("the region table that it would get is none");
  return { ...digest, table: { ...digest.table, regions }, value: value?.after ?? digest.value };
}

/**
 * Everything that makes up the image with the new header: what the kernel lists, what purgatory checks besides, and `header`
 * where it is neither. Not the segment of a header that has left it: nobody reads that, and purgatory does not check it.
 */
async function partsOf(
  memory: PhysicalMemory,
  image: CaptureImage,
  kimage: Kimage,
  digest: KnownDigest,
  checked: readonly DigestRegion[],
  header: ImageSegment,
): Promise<readonly ImageSegment[]> {
  const parts: ImageSegment[] = [];
  for (const part of imageSegments(kimage, digest)) {
    const isLeft =
      digest.state === "covers-header" &&
      part.address !== header.address &&
      !segmentHolding([part], kimage.entry) &&
      !checked.some((region) => region.size > 0 && region.address === part.address) &&
      (part.address === image.headerAddress || looksLikeCoreHeader(await memory.read(part.address, 4096), 0));
    if (!isLeft) parts.push({ address: part.address, size: part.size });
  }
  if (!parts.some(({ address }) => address === header.address)) parts.push(header);
  for (const [i, part] of parts.entries()) {
    const range = { start: part.address, end: part.address + BigInt(part.size) };
    const other = parts.find((p, j) => j < i && overlapsSegment(range, p));
    if (other) throw unsafe(`its parts at ${hex(other.address)} and ${hex(part.address)} overlap`);
  }
  return parts;
}

/** The bytes of `part` with `writes` in them, without the zeros at its end. */
async function contentOf(
  memory: PhysicalMemory,
  part: ImageSegment,
  writes: readonly PlannedWrite[],
): Promise<Uint8Array> {
  const bytes = (await memory.read(part.address, part.size)).slice();
  for (const { address, after } of writes)
    if (segmentHolding([part], address)) bytes.set(after, Number(address - part.address));
  return bytes.subarray(0, bytes.findLastIndex((byte) => byte !== 0) + 1);
}

/** SHA-256 of one region's bytes. */
export async function hashRegion(
  memory: PhysicalMemory,
  sha256: Sha256,
  region: ImageSegment,
): Promise<Uint8Array> {
  const hash: RunningHash = sha256();
  for await (const bytes of readRegion(memory, region)) hash.update(bytes);
  return hash.digest();
}

/** A region by its place. */
export function regionKey({ address, size }: ImageSegment): string {
  return `${hex(address)}+${size}`;
}
