/** The last check of a plan: nothing is written but what may be written. */
import { hex } from "../elfcore/hex.ts";
import type { PhysicalRange } from "../layout/range.ts";
import { ImageError } from "./error.ts";
import { segmentHolding } from "./kimage.ts";
import type { CaptureImage } from "./locate.ts";
import type { WritePlan } from "./plan.ts";
import { DIGEST_SIZE, REGION_TABLE_SIZE } from "./purgatory.ts";

/**
 * Refuses a plan with a write outside of `own`, the region table and the digest; and one for which those overlap or
 * leave crash memory, or table and digest leave purgatory's segment.
 *
 * @param own the header's segment; for a header that moves its new place and the boot parameters.
 */
export function checkPermitted(
  image: CaptureImage,
  plan: WritePlan,
  own: readonly PhysicalRange[],
): WritePlan {
  const { digest } = image;
  const inPurgatory: PhysicalRange[] = [];
  if (digest.state === "covers-header") {
    inPurgatory.push(
      { start: digest.table.address, end: digest.table.address + BigInt(REGION_TABLE_SIZE) },
      { start: digest.address, end: digest.address + BigInt(DIGEST_SIZE) },
    );
  }
  const purgatory = image.kimage && segmentHolding(image.kimage.segments, image.kimage.entry);
  const allowed = [...own, ...inPurgatory];
  for (const [i, span] of allowed.entries()) {
    const clash = allowed.some((other, j) => j !== i && span.start < other.end && other.start < span.end);
    const outside =
      !image.crashMemory.covers(span) ||
      (i >= own.length &&
        purgatory !== undefined &&
        (span.start < purgatory.address || span.end > purgatory.address + BigInt(purgatory.size)));
    if (clash || outside) {
      throw new ImageError(
        "outside-image",
        `Refused to write to ${hex(span.start)}-${hex(span.end)}: ${clash ? "header, region table and digest overlap" : "that is not inside the capture image"}`,
      );
    }
  }
  for (const write of plan.writes) {
    const end = write.address + BigInt(write.after.length);
    const inside = allowed.some((span) => span.start <= write.address && end <= span.end);
    if (!inside || write.before.length !== write.after.length) {
      throw new ImageError(
        "outside-image",
        `Refused to write ${write.after.length} bytes of ${write.what} at ${hex(write.address)}: that is outside the capture image's header and digest`,
      );
    }
  }
  return plan;
}
