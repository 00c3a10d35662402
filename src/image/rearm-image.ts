/** Which images can be re-armed, and what has to be known of their kernel. */
import { hex } from "../elfcore/hex.ts";
import type { PhysicalRange } from "../layout/range.ts";
import { RangeSet } from "../layout/range-set.ts";
import type { DigestFinding } from "./digest.ts";
import { ImageError } from "./error.ts";
import type { PagingFacts } from "./identity-map.ts";
import { type ImageSegment, type Kimage, segmentHolding } from "./kimage.ts";
import type { CaptureImage } from "./locate.ts";

/** What has to be known of the running kernel. */
export interface RearmFacts extends PagingFacts {
  /** Bytes of `totalram_pages` (MemTotal in /proc/meminfo): an image may take half of it (sanity_check_segment_list). */
  readonly totalRam: bigint;
  /** Whether the kernel knows KEXEC_UPDATE_ELFCOREHDR (rearm.ts): /sys/devices/system/memory/crash_hotplug exists. */
  readonly updatesElfcorehdr: boolean;
}

/** A digest that is known to hold. */
export type KnownDigest = Extract<DigestFinding, { readonly value: Uint8Array }>;

/** An image that is understood well enough. */
export interface Understood {
  readonly kimage: Kimage;
  readonly digest: KnownDigest;
  readonly crash: PhysicalRange;
  readonly purgatory: ImageSegment;
}

/**
 * What a re-arm builds on.
 *
 * @throws {ImageError} `not-loaded`, `panicking`, `forged` or `unsafe-rearm` where `image` cannot be re-armed.
 */
export function understand(image: CaptureImage, facts: RearmFacts): Understood {
  const { kimage, kernel, digest } = image;
  if (image.loaded !== "yes" || !kimage || kernel?.imagePointerAddress === undefined)
    throw new ImageError(
      "not-loaded",
      "Cannot re-arm an image of which no kernel says that it is loaded; load the capture kernel in full",
    );
  if (image.usedCpuNote !== undefined)
    throw new ImageError(
      "panicking",
      `Refused to re-arm: the CPU note at ${hex(image.usedCpuNote)} holds registers, a panic is under way`,
    );
  if (!("value" in digest))
    throw new ImageError(
      "forged",
      `Refused to re-arm an image whose digest is ${digest.state}: what of it is intact cannot be told; load the capture kernel in full`,
    );
  const purgatory = segmentHolding(kimage.segments, kimage.entry);
  const crash = image.crashMemory.ranges.find((r) => r.start <= kimage.entry && kimage.entry < r.end);
  if (!purgatory || !crash) throw unsafe(`its entry ${hex(kimage.entry)} is in no segment of it`);
  const table = digest.table.address;
  if (!segmentHolding([purgatory], table) || !segmentHolding([purgatory], digest.address))
    throw unsafe(`its region table and digest are not in purgatory's segment (${hex(purgatory.address)})`);
  if (!RangeSet.of(facts.mapped).covers(crash))
    throw unsafe(
      `the memory that the kernel maps was not told with crash memory (${hex(crash.start)}) in it`,
    );
  return { kimage, digest, crash, purgatory };
}

/** A re-arm that is refused, for a reason in words that complete "…, because …". */
export function unsafe(reason: string): ImageError {
  return new ImageError(
    "unsafe-rearm",
    `Refused to re-arm the loaded image, because ${reason}; load the capture kernel in full, over the old image`,
  );
}
