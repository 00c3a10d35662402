/**
 * All parts of an image, also those that the kernel was not told of when it was loaded.
 *
 * A re-arm lists only what changes; what it leaves in crash memory is known by purgatory's region table alone, which
 * covers every segment but purgatory itself and those that are rewritten under it.
 */
import type { DigestFinding } from "./digest.ts";
import type { Kimage, ImageSegment } from "./kimage.ts";

/** The segments that the kernel lists, then the regions of the digest that are none of them. */
export function imageSegments(kimage: Kimage, digest: DigestFinding): readonly ImageSegment[] {
  return [...kimage.segments, ...residualRegions(kimage, digest)];
}

/** What purgatory checks and the kernel does not list: left there by a re-arm, or a header that has moved. */
export function residualRegions({ segments }: Kimage, digest: DigestFinding): readonly ImageSegment[] {
  if (!("table" in digest)) return [];
  return digest.table.regions.filter(
    ({ address, size }) => size > 0 && !segments.some((segment) => segment.address === address),
  );
}
