/** Around the one system call of a re-arm: whether the image is still the one that was planned for, and what is there afterwards. */
import { hex } from "../elfcore/hex.ts";
import type { PhysicalRange } from "../layout/range.ts";
import { equalBytes, u64 } from "./bytes.ts";
import { ImageError } from "./error.ts";
import type { Sha256 } from "./hash.ts";
import { kimageBytes, parseKimage } from "./kimage.ts";
import type { PhysicalMemory } from "./memory.ts";
import { computeDigest, encodeRegions } from "./purgatory.ts";
import { hashRegion, type RearmPlan, type RearmSegment } from "./rearm.ts";

/** What lies in crash memory after a re-arm. */
export type RearmOutcome =
  | { readonly state: "armed" }
  /** A panic now gives no dump: `damaged` are the parts that are not what they should be. */
  | { readonly state: "broken"; readonly damaged: readonly PhysicalRange[]; readonly reason: string };

/**
 * Makes sure, with some small reads right before the call, that `plan` is still for the image that is loaded: the kernel's
 * pointer, its list of segments, header, purgatory and all that would change.
 *
 * @throws {ImageError} `changed` where it is not: somebody else loaded, re-armed or rewrote it. Look again.
 */
export async function confirmRearm(memory: PhysicalMemory, { madeFor }: RearmPlan): Promise<void> {
  const { image, kimage, bytes } = madeFor;
  const { imagePointerAddress: place, pageOffset } = image.kernel ?? {};
  if (place === undefined || pageOffset === undefined)
    throw new TypeError("A plan is made for an image with a kernel");
  const pointer = u64(await memory.read(place, 8), 0);
  if (pointer !== pageOffset + kimage.address)
    throw changed(`the kernel's pointer is 0x${pointer.toString(16)} now`);
  const size = kimageBytes(kimage.segments.length);
  const now = parseKimage(kimage.address, await memory.read(kimage.address, size), image.crashMemory);
  const same =
    now?.entry === kimage.entry &&
    now.segments.length === kimage.segments.length &&
    now.segments.every(({ address, size: s }, i) => {
      const before = kimage.segments[i]!;
      return address === before.address && s === before.size;
    });
  if (!same) throw changed("the kernel lists other segments now");
  for (const { address, before } of bytes)
    if (!equalBytes(await memory.read(address, before.length), before))
      throw changed(`its bytes at ${hex(address)} are others now`);
}

/**
 * Checks, after the call, all that purgatory will check at a panic: that the listed segments came to lie as planned, and that
 * what was not listed is intact. Reads and hashes the whole image.
 */
export async function verifyRearm(
  memory: PhysicalMemory,
  sha256: Sha256,
  plan: RearmPlan,
): Promise<RearmOutcome> {
  const { digest } = plan;
  const damaged: PhysicalRange[] = [];
  for (const segment of plan.segments) {
    // The kernel's own handler may have been there already.
    const isKernels = digest.state === "excludes-header" && segment.address === plan.headerAddress;
    if (!isKernels && !(await isWritten(memory, segment))) damaged.push(rangeOf(segment));
  }
  const table = encodeRegions(digest.table.regions);
  const inForce =
    equalBytes(await memory.read(digest.table.address, table.length), table) &&
    equalBytes(await memory.read(digest.address, digest.value.length), digest.value);
  const value = await computeDigest(memory, sha256, digest.table.regions);
  if (inForce && equalBytes(value, digest.value) && damaged.length === 0) return { state: "armed" };
  for (const region of plan.residual)
    if (!equalBytes(await hashRegion(memory, sha256, region), region.sha256)) damaged.push(rangeOf(region));
  const where = damaged.map(({ start, end }) => `${hex(start)}-${hex(end)}`).join(", ");
  return {
    state: "broken",
    damaged,
    reason: `after the re-arm ${where === "" ? "purgatory's digest" : `what lies at ${where}`} is not what it should be: a panic now gives no dump; load the capture kernel in full at once`,
  };
}

async function isWritten(memory: PhysicalMemory, { address, size, bytes }: RearmSegment): Promise<boolean> {
  const now = await memory.read(address, size);
  return equalBytes(now.subarray(0, bytes.length), bytes) && now.subarray(bytes.length).every((b) => b === 0);
}

function rangeOf({ address, size }: { readonly address: bigint; readonly size: number }): PhysicalRange {
  return { start: address, end: address + BigInt(size) };
}

function changed(what: string): ImageError {
  return new ImageError(
    "changed",
    `The capture image was changed since its re-arm was planned: ${what}; look again`,
  );
}
