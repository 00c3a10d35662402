/**
 * Plans the writes that turn one core header into another, so that at every instant at which the machine can
 * panic the image is armed and describes the old layout or the new one.
 *
 * - The digest covers the header (<= 6.5, and kexec_load without --hotplug): header, region table and digest must
 *   change as one, so the machine has to be paused around all of them.
 * - It does not, and the header only grows at its end: the new program headers go behind the last one, where
 *   nobody looks yet, then `e_phnum` (one aligned u16) makes them count. Each step can be seen.
 * - It does not, and the header changes elsewhere: the machine has to be paused.
 */
import { encodeCoreHeader } from "../elfcore/encode.ts";
import { type CoreHeader, coreHeaderSize, E_PHNUM_OFFSET, programHeaderRoom } from "../elfcore/header.ts";
import { joinedToFit } from "../elfcore/join.ts";
import type { PhysicalRange } from "../layout/range.ts";
import { equalBytes } from "./bytes.ts";
import { hex } from "../elfcore/hex.ts";
import type { DigestPrefix } from "./digest.ts";
import { ImageError } from "./error.ts";
import type { CaptureImage } from "./locate.ts";
import type { PhysicalMemory } from "./memory.ts";
import { checkPermitted } from "./permitted.ts";
import { encodeRegions, withRegionLast } from "./purgatory.ts";

/** One write, with the bytes that must be there before. */
export interface PlannedWrite {
  readonly what:
    "program-headers" | "e_phnum" | "header" | "memory-map" | "command-line" | "region-table" | "digest";
  readonly address: bigint;
  readonly before: Uint8Array;
  readonly after: Uint8Array;
}

/** Bytes that `writes` write. */
export function bytesWritten(writes: readonly PlannedWrite[]): number {
  return writes.reduce((sum, { after }) => sum + after.length, 0);
}

/** Writes in their order. `atomic`: between the first and the last the image is not armed, the machine must not run. */
export interface WritePlan {
  readonly atomic: boolean;
  readonly writes: readonly PlannedWrite[];
}

/** Whether `wanted` has a place in the header's segment, with loads joined where it needs that. */
export function fitsInPlace(image: CaptureImage, wanted: CoreHeader): boolean {
  return joinedToFit(wanted, programHeaderRoom(image.headerCapacity)) !== undefined;
}

/**
 * Plans the installation of `wanted` into `image`, where the header is. Loads that touch are joined where it would not
 * fit otherwise.
 *
 * @param prefix the hash of the rest of the image; needed where the digest covers the header.
 * @throws {ImageError} `header-too-large`; `outside-image` where any write would leave the image; `forged` where
 * the digest's state does not permit a change (mismatch, not found); `changed` where the header is not what it was.
 */
export async function planInstall(
  memory: PhysicalMemory,
  image: CaptureImage,
  wanted: CoreHeader,
  prefix: DigestPrefix | undefined,
): Promise<WritePlan> {
  const fitting = joinedToFit(wanted, programHeaderRoom(image.headerCapacity));
  if (!fitting) {
    throw new ImageError(
      "header-too-large",
      `The new header needs ${coreHeaderSize(wanted.programHeaders.length)} bytes (${wanted.programHeaders.length} program headers), its segment at ${hex(image.headerAddress)} has ${image.headerCapacity}; reload the capture kernel in the guest to get a larger one`,
    );
  }
  const after = encodeCoreHeader(fitting);
  const segment = await memory.read(image.headerAddress, image.headerCapacity);
  const before = encodeCoreHeader(image.header);
  if (!equalBytes(before, segment.subarray(0, before.length))) {
    throw new ImageError(
      "changed",
      `The core header at ${hex(image.headerAddress)} changed since it was read; look again`,
    );
  }
  const writes: PlannedWrite[] = [];
  const { digest } = image;
  if (digest.state === "excludes-header") {
    const grown = growth(image, segment, before, after);
    if (grown) return checkPermitted(image, { atomic: false, writes: grown }, segmentOf(image));
    writes.push(headerWrite(image, segment, after));
  } else if (digest.state === "covers-header") {
    if (!prefix) throw new TypeError("A digest that covers the header needs the hash of the rest");
    writes.push(headerWrite(image, segment, after));
    const last = withRegionLast(digest.table.regions, image.headerAddress);
    const tableBefore = encodeRegions(digest.table.regions);
    const tableAfter = encodeRegions(last);
    if (!equalBytes(tableBefore, tableAfter)) {
      writes.push({
        what: "region-table",
        address: digest.table.address,
        before: tableBefore,
        after: tableAfter,
      });
    }
    const newSegment = segment.slice();
    newSegment.set(writes[0]!.after);
    const value = prefix.finish(newSegment);
    writes.push({ what: "digest", address: digest.address, before: digest.value, after: value });
  } else {
    throw new ImageError(
      "forged",
      `Refused to change an image whose digest is ${digest.state}: it could not be armed again; reload the capture kernel in the guest`,
    );
  }
  return checkPermitted(image, { atomic: true, writes }, segmentOf(image));
}

/** The header's bytes up to the end of whichever form is longer: a loader leaves zeros behind a header. */
function headerWrite(image: CaptureImage, segment: Uint8Array, after: Uint8Array): PlannedWrite {
  const padded = new Uint8Array(Math.max(after.length, coreHeaderSize(image.header.programHeaders.length)));
  padded.set(after);
  return {
    what: "header",
    address: image.headerAddress,
    before: segment.slice(0, padded.length),
    after: padded,
  };
}

/** The two writes of a header that only grows at its end, or undefined where it changes elsewhere. */
function growth(
  image: CaptureImage,
  segment: Uint8Array,
  before: Uint8Array,
  after: Uint8Array,
): readonly PlannedWrite[] | undefined {
  if (after.length <= before.length) return undefined;
  const withNewCount = before.slice();
  withNewCount.set(after.subarray(E_PHNUM_OFFSET, E_PHNUM_OFFSET + 2), E_PHNUM_OFFSET);
  if (!equalBytes(withNewCount, after.subarray(0, before.length))) return undefined;
  return [
    {
      what: "program-headers",
      address: image.headerAddress + BigInt(before.length),
      before: segment.slice(before.length, after.length),
      after: after.slice(before.length),
    },
    {
      what: "e_phnum",
      address: image.headerAddress + BigInt(E_PHNUM_OFFSET),
      before: before.slice(E_PHNUM_OFFSET, E_PHNUM_OFFSET + 2),
      after: after.slice(E_PHNUM_OFFSET, E_PHNUM_OFFSET + 2),
    },
  ];
}

/** Where a header may be written that stays in its segment. */
function segmentOf(image: CaptureImage): readonly PhysicalRange[] {
  return [{ start: image.headerAddress, end: image.headerAddress + BigInt(image.headerCapacity) }];
}
