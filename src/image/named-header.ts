/**
 * Which core header the capture kernel will read: the one that `elfcorehdr=` in its boot parameters names.
 *
 * The kernel's `struct kimage` lists the segment that the loader made for it, also after the header has moved (move.ts).
 */
import { hex } from "../elfcore/hex.ts";
import type { RangeSet } from "../layout/range-set.ts";
import { type BootParams, E820_RAM, findBootParams, overlaps } from "./boot-params.ts";
import { elfcorehdrOf } from "./command-line.ts";
import { type Kimage, segmentHolding } from "./kimage.ts";
import type { CaptureImage } from "./locate.ts";
import type { PhysicalMemory } from "./memory.ts";

/** A header by the image's own account. */
export interface NamedHeader {
  readonly address: bigint;
  readonly boot: BootParams;
  /** Whether it lies in crash memory and in none of the image's segments. */
  readonly moved: boolean;
}

/** The header that the image's boot parameters name; undefined where none were found, or they name none. */
export async function findNamedHeader(
  memory: PhysicalMemory,
  crashMemory: RangeSet,
  { segments }: Kimage,
): Promise<NamedHeader | undefined> {
  const boot = await findBootParams(memory, segments);
  const address = boot && elfcorehdrOf(boot.commandLine.text);
  if (!boot || address === undefined) return undefined;
  return { address, boot, moved: crashMemory.contains(address) && !segmentHolding(segments, address) };
}

/** Whether the header of `image` has left its segment; false where no kernel says what the segments are. */
export function hasMoved({ kimage, headerAddress }: Pick<CaptureImage, "kimage" | "headerAddress">): boolean {
  return kimage !== undefined && segmentHolding(kimage.segments, headerAddress) === undefined;
}

/**
 * Why a core header of `bytes` bytes that was proven at `named` is no place for one, in words that complete "…, but …";
 * undefined where nothing is wrong: no segment has any of it, and the capture kernel takes none of it as its own RAM.
 */
export function disproveMoved(
  { address, boot }: NamedHeader,
  kimage: Kimage,
  bytes: number,
): string | undefined {
  const span = { start: address, end: address + BigInt(bytes) };
  const segment = kimage.segments.find(
    (s) => s.address < span.end && span.start < s.address + BigInt(s.size),
  );
  if (segment) return `it reaches into the segment at ${hex(segment.address)}`;
  const own = boot.map.find((entry) => entry.type === E820_RAM && overlaps(entry, span));
  if (own) return `the capture kernel takes that as its own RAM (${hex(own.start)}+${hex(own.size)})`;
  return undefined;
}
