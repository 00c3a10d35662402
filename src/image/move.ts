/**
 * Plans the move of a header that outgrows its segment: to a free place in crash memory, which the capture kernel's map
 * of memory loses and its command line names.
 *
 * The kernel's own list of segments is not ours to change: the old segment stays the image's, with the old header in
 * it, which nobody reads any more. Where the header is now, the image says: `elfcorehdr=` in its boot parameters, which
 * the digest covers; a later look follows that (named-header.ts). Only a header that the digest covers is moved: one
 * that it leaves out is rewritten by the kernel's own handler (>= 6.6), in the old segment.
 */
import { encodeCoreHeader } from "../elfcore/encode.ts";
import { type CoreHeader, coreHeaderSize } from "../elfcore/header.ts";
import { hex } from "../elfcore/hex.ts";
import { rangeBytes } from "../layout/range.ts";
import {
  type BootParams,
  E820_ENTRIES_OFFSET,
  E820_TABLE_OFFSET,
  encodeMap,
  findBootParams,
  mapContinuesElsewhere,
} from "./boot-params.ts";
import { equalBytes, PAGE_SIZE } from "./bytes.ts";
import { elfcorehdrOf, withElfcorehdr } from "./command-line.ts";
import { readControlPagesEnd } from "./control-pages.ts";
import { DigestPrefix } from "./digest.ts";
import { ImageError } from "./error.ts";
import { findFreePlace, type FreePlace } from "./free-place.ts";
import type { Sha256 } from "./hash.ts";
import type { CaptureImage } from "./locate.ts";
import type { PhysicalMemory } from "./memory.ts";
import { checkPermitted } from "./permitted.ts";
import type { PlannedWrite, WritePlan } from "./plan.ts";
import { type DigestRegion, encodeRegions, MAX_HEADER_SEGMENT } from "./purgatory.ts";
import { imageSegments } from "./residual.ts";

/** A new place is a multiple of this, which is what kexec-tools gives a header: room for 291 program headers. */
const PLACE_UNIT = 16 * 1024;

/**
 * Bytes of the place for a header with `count` program headers: twice what it needs, so that it can grow, but no more
 * than a header is believed to have; the largest that there can be has room in that.
 *
 * @param room program headers for which there has to be room at least.
 */
export function placeSize(count: number, room = 0): number {
  const bytes = Math.max(2 * coreHeaderSize(count), coreHeaderSize(room));
  return Math.min(Math.ceil(bytes / PLACE_UNIT) * PLACE_UNIT, MAX_HEADER_SEGMENT);
}

/**
 * Plans the installation of `wanted` into `image` at a new place. Hashes the image, so it takes a while; what it is
 * based on is checked byte for byte when the plan is carried out.
 *
 * @param room program headers for which the new place has room at least.
 * @throws {ImageError} `header-too-large` where the header cannot be moved, with the reason; `changed` where the image
 * changed meanwhile; `outside-image` where a write would leave the image.
 */
export async function planMove(
  memory: PhysicalMemory,
  sha256: Sha256,
  image: CaptureImage,
  wanted: CoreHeader,
  room?: number,
): Promise<WritePlan> {
  const { digest, headerAddress } = image;
  if (digest.state !== "covers-header") {
    throw cannotMove(
      image,
      wanted,
      "its digest does not cover the header: the kernel may rewrite it in its old place",
    );
  }
  const { boot, place, map } = await findPlace(memory, image, wanted, room);
  const text = withElfcorehdr(boot.commandLine.text, place.start);
  if (text === undefined || elfcorehdrOf(text) !== place.start) {
    throw cannotMove(image, wanted, `elfcorehdr= in the command line has no room for ${hex(place.start)}`);
  }
  const header = new Uint8Array(Number(rangeBytes(place)));
  const encoded = encodeCoreHeader(wanted);
  header.set(encoded);
  // What is zero already is not written: most of a free place. Through the gdbstub 16 KiB kept a guest standing for 15.6 ms.
  const before = await memory.read(place.start, header.length);
  const used = Math.max(encoded.length, before.findLastIndex((byte) => byte !== 0) + 1);
  const writes: PlannedWrite[] = [
    {
      what: "header",
      address: place.start,
      before: before.slice(0, used),
      after: header.slice(0, used),
    },
    ...bootWrites(boot, map, text),
  ];
  const newBoot = boot.bytes.slice();
  for (const { address, after } of writes.slice(1))
    newBoot.set(after, Number(address - boot.segment.address));

  const others = digest.table.regions.filter(
    ({ address, size }) => size > 0 && address !== headerAddress && address !== boot.segment.address,
  );
  const bootRegion = digest.table.regions.find(({ address }) => address === boot.segment.address);
  if (bootRegion && bootRegion.size !== boot.segment.size)
    throw cannotMove(image, wanted, "its region table and its segments disagree on the boot parameters");
  const prefix = await DigestPrefix.compute(memory, sha256, digest, headerAddress, boot.segment.address);
  const last: DigestRegion = { address: place.start, size: header.length };
  const regions = [...others, ...(bootRegion ? [bootRegion] : []), last];
  const unused = digest.table.regions.filter(({ size }) => size === 0);
  writes.push(
    {
      what: "region-table",
      address: digest.table.address,
      before: encodeRegions(digest.table.regions),
      after: encodeRegions([...regions, ...unused]),
    },
    {
      what: "digest",
      address: digest.address,
      before: digest.value,
      after: bootRegion ? prefix.finish(newBoot, header) : prefix.finish(header),
    },
  );
  const { segment } = boot;
  return checkPermitted(image, { atomic: true, writes }, [
    place,
    { start: segment.address, end: segment.address + BigInt(segment.size) },
  ]);
}

/** A free place for `wanted`, and what names it. */
async function findPlace(
  memory: PhysicalMemory,
  image: CaptureImage,
  wanted: CoreHeader,
  room: number | undefined,
): Promise<FreePlace & { readonly boot: BootParams }> {
  const no = (reason: string): ImageError => cannotMove(image, wanted, reason);
  const { kimage, kernel, headerAddress } = image;
  const crash =
    kimage && image.crashMemory.ranges.find((r) => r.start <= kimage.entry && kimage.entry < r.end);
  if (!kimage || !crash || kernel?.pageOffset === undefined)
    throw no("the kernel's own account of the image is not known");
  const boot = await findBootParams(memory, kimage.segments);
  if (!boot) throw no("no boot parameters that make sense were found in its segments");
  if (elfcorehdrOf(boot.commandLine.text) !== headerAddress)
    throw no("its boot parameters do not name the header that they should");
  const segments = imageSegments(kimage, image.digest);
  const elsewhere = await mapContinuesElsewhere(memory, segments, boot);
  if (elsewhere !== undefined) throw no(elsewhere);
  const controlPagesEnd = await readControlPagesEnd(memory, kimage, kernel.pageOffset, crash);
  if (controlPagesEnd === undefined) throw no("the kernel does not say where its control pages end");
  const occupation = { crash, segments, controlPagesEnd, map: boot.map };
  const free = findFreePlace(occupation, placeSize(wanted.programHeaders.length, room));
  if (typeof free === "string") throw no(free);
  return { ...free, boot };
}

/** The writes into the boot parameters: only the bytes that change, from the first to the last of each part. */
function bootWrites(boot: BootParams, map: FreePlace["map"], text: string): readonly PlannedWrite[] {
  const { segment, bytes, commandLine } = boot;
  const writes: PlannedWrite[] = [];
  const write = (what: PlannedWrite["what"], offset: number, after: Uint8Array): void => {
    const before = bytes.slice(offset, offset + after.length);
    if (!equalBytes(before, after))
      writes.push({ what, address: segment.address + BigInt(offset), before, after });
  };
  write("memory-map", E820_TABLE_OFFSET, encodeMap(map));
  write("memory-map", E820_ENTRIES_OFFSET, Uint8Array.of(map.length));
  const line = Uint8Array.from(text, (character) => character.charCodeAt(0));
  write("command-line", Number(commandLine.address - segment.address), line);
  return writes;
}

function cannotMove(image: CaptureImage, { programHeaders }: CoreHeader, reason: string): ImageError {
  const needed = coreHeaderSize(programHeaders.length);
  const pages = Math.ceil(needed / PAGE_SIZE);
  return new ImageError(
    "header-too-large",
    `The new header needs ${needed} bytes (${programHeaders.length} program headers, ${pages} pages), its segment at ${hex(image.headerAddress)} has ${image.headerCapacity}, and it cannot be moved, because ${reason}; the old header stays: reload the capture kernel in the guest to get a larger one`,
  );
}
