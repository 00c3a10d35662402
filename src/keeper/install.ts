/** One in-place install: hash first, then pause, check that nothing moved, write, resume, read back. */
import { encodeCoreHeader } from "../elfcore/encode.ts";
import type { CoreHeader } from "../elfcore/header.ts";
import { cpuNotes } from "../elfcore/kinds.ts";
import { equalBytes, u32, u64 } from "../image/bytes.ts";
import { hex } from "../elfcore/hex.ts";
import { DigestPrefix } from "../image/digest.ts";
import { ImageError } from "../image/error.ts";
import type { Sha256 } from "../image/hash.ts";
import { type Kimage, kimageBytes, parseKimage } from "../image/kimage.ts";
import type { CaptureImage } from "../image/locate.ts";
import type { PhysicalMemory } from "../image/memory.ts";
import { planMove } from "../image/move.ts";
import { planInstall, type PlannedWrite, type WritePlan } from "../image/plan.ts";
import { encodeRegions } from "../image/purgatory.ts";
import { endedWith, intend, type Logged } from "./install-log.ts";
import type { Machine } from "./machine.ts";

/** CPU notes that are looked at in the pause: a panic fills those of all CPUs, and each look costs time. */
const MAX_CPU_NOTES = 8;

/** What an install did. */
export interface InstallReport {
  readonly writes: readonly PlannedWrite[];
  readonly pauseMicroseconds: number | undefined;
}

/**
 * Remembers the hash of everything but the header. Hashing tens of MiB takes tens of milliseconds, is done
 * while the machine runs, and holds until the image is another one: its table and its digest say so.
 */
export class PrefixCache {
  #key: string | undefined;
  #prefix: DigestPrefix | undefined;

  /** The hash for `image`, taken anew where the cached one is another image's; undefined where none is needed. */
  async for(memory: PhysicalMemory, sha256: Sha256, image: CaptureImage): Promise<DigestPrefix | undefined> {
    const { digest } = image;
    if (digest.state !== "covers-header") return undefined;
    const key = keyOf(image, digest.value);
    if (key !== this.#key) {
      this.#prefix = await DigestPrefix.compute(memory, sha256, digest, image.headerAddress);
      this.#key = key;
    }
    return this.#prefix;
  }

  /** Our own install changed the digest of the same image: the hash of the rest still holds. */
  follow(image: CaptureImage, writes: readonly PlannedWrite[]): void {
    const digest = writes.find((write) => write.what === "digest");
    if (digest) this.#key = keyOf(image, digest.after);
  }
}

function keyOf(image: CaptureImage, digest: Uint8Array): string {
  return `${image.headerAddress} ${image.kimage?.address} ${String(digest)}`;
}

/**
 * Installs `wanted` into the image of `machine`.
 *
 * @param logged who is told before and after, and why.
 * @throws {ImageError} `changed` where the machine changed the image meanwhile (nothing was written: look again),
 * and what {@link planInstall} throws.
 */
export async function install(
  machine: Machine,
  image: CaptureImage,
  wanted: CoreHeader,
  prefix: DigestPrefix | undefined,
  logged?: Logged,
): Promise<InstallReport> {
  return carryOut(machine, image, await planInstall(machine.memory, image, wanted, prefix), logged);
}

/**
 * Installs `wanted`, which outgrows its segment, at a new place in the crash memory of `machine`. The whole image is
 * hashed before the pause, as for any other one.
 *
 * @throws {ImageError} `changed` as {@link install} does, and what {@link planMove} throws.
 */
export async function move(
  machine: Machine,
  sha256: Sha256,
  image: CaptureImage,
  wanted: CoreHeader,
  logged?: Logged,
): Promise<InstallReport> {
  return carryOut(machine, image, await planMove(machine.memory, sha256, image, wanted), logged);
}

/** Tells what is going to be written, and how that ended. */
async function carryOut(
  machine: Machine,
  image: CaptureImage,
  plan: WritePlan,
  logged: Logged | undefined,
): Promise<InstallReport> {
  // Before the pause: a disk takes milliseconds, in which the machine may run.
  const open = await intend(machine, logged, image, plan);
  try {
    const report = await pauseAndWrite(machine, image, plan);
    open?.installed(report);
    return report;
  } catch (error) {
    endedWith(open, error);
    throw error;
  }
}

/** Pause, check, write, resume, read back. */
async function pauseAndWrite(machine: Machine, image: CaptureImage, plan: WritePlan): Promise<InstallReport> {
  // Once before the pause: a machine is not stopped for nothing, and the pause does not pay for code that runs cold.
  await checkSameImage(machine.memory, image);
  const { microseconds } = await machine.paused(async () => {
    // All reads at once: without a shared file each waits for QEMU, and the guest waits with it.
    await Promise.all([checkSameImage(machine.memory, image), checkBefore(machine.memory, plan)]);
    await writeAll(machine.memory, plan);
  });
  for (const { address, after, what } of plan.writes) {
    if (!equalBytes(await machine.memory.read(address, after.length), after)) {
      throw new ImageError(
        "changed",
        `The ${what} at ${hex(address)} was changed right after it was written; look again`,
      );
    }
  }
  return { writes: plan.writes, pauseMicroseconds: microseconds };
}

/**
 * Called before the pause and again in it: the kernel's pointer still leads to this image, its header, region table
 * and digest are what they were, and no panic is under way.
 *
 * @throws {ImageError} `changed`, or `panicking`.
 */
export async function checkSameImage(memory: PhysicalMemory, image: CaptureImage): Promise<void> {
  const { digest, header, headerAddress } = image;
  const expected: (readonly [string, bigint, Uint8Array])[] = [
    ["core header", headerAddress, encodeCoreHeader(header)],
  ];
  if (digest.state === "covers-header") {
    expected.push(["digest's region table", digest.table.address, encodeRegions(digest.table.regions)]);
    expected.push(["digest", digest.address, digest.value]);
  }
  const notes = cpuNotes(header).slice(0, MAX_CPU_NOTES);
  // What is read does not depend on what was read before it: all of it is asked for at once.
  const [, bytes, used] = await Promise.all([
    checkPointer(memory, image),
    Promise.all(expected.map(([, address, { length }]) => memory.read(address, length))),
    Promise.all(notes.map(({ p_paddr }) => memory.read(p_paddr, 4))),
  ]);
  for (const [i, [what, address, wanted]] of expected.entries()) {
    if (!equalBytes(bytes[i]!, wanted))
      throw new ImageError(
        "changed",
        `The ${what} at ${hex(address)} changed before the install; look again`,
      );
  }
  // A CPU's note is empty until a panic stops the CPU (crash_save_cpu), and that comes before purgatory hashes.
  const panicking = notes.find((_, i) => u32(used[i]!, 0) !== 0);
  if (panicking !== undefined)
    throw new ImageError(
      "panicking",
      `Nothing was written: the CPU note at ${hex(panicking.p_paddr)} is in use, so the guest is panicking already`,
    );
}

/** @throws {ImageError} `changed` where the kernel's pointer leads elsewhere by now, or to other segments. */
async function checkPointer(
  memory: PhysicalMemory,
  { kernel, kimage, crashMemory }: CaptureImage,
): Promise<void> {
  if (kernel?.imagePointerAddress === undefined || kernel.pageOffset === undefined || !kimage) return;
  const [place, bytes] = await Promise.all([
    memory.read(kernel.imagePointerAddress, 8),
    memory.read(kimage.address, kimageBytes(kimage.segments.length)),
  ]);
  // The kernel holds the pointer at NULL while it loads or rewrites an image: then it is not our turn.
  const pointer = u64(place, 0);
  if (pointer === 0n)
    throw new ImageError("changed", "The capture image is being replaced or was unloaded; look again");
  const now =
    pointer - kernel.pageOffset === kimage.address && parseKimage(kimage.address, bytes, crashMemory);
  if (!now || !sameSegments(now, kimage))
    throw new ImageError("changed", "Another capture image was loaded; look again");
}

function sameSegments(a: Kimage, b: Kimage): boolean {
  return segmentsText(a) === segmentsText(b);
}

function segmentsText({ entry, segments }: Kimage): string {
  return `${entry} ${segments.map(({ address, size }) => `${address}+${size}`).join(" ")}`;
}

/**
 * Called while the machine stands still. Every byte that is written must be what the plan says; a write that fails
 * is undone with what was written before it.
 *
 * @throws {ImageError} `changed` before anything was written; `half-written` where a write failed and could not be
 * undone. Where it could, what the write threw.
 */
export async function applyPlan(memory: PhysicalMemory, plan: WritePlan): Promise<void> {
  await checkBefore(memory, plan);
  await writeAll(memory, plan);
}

/** @throws {ImageError} `changed` where a byte that is to be written is not what the plan says. */
async function checkBefore(memory: PhysicalMemory, { writes }: WritePlan): Promise<void> {
  const found = await Promise.all(writes.map(({ address, before }) => memory.read(address, before.length)));
  for (const [i, { address, before, what }] of writes.entries()) {
    if (!equalBytes(found[i]!, before))
      throw new ImageError(
        "changed",
        `The ${what} at ${hex(address)} changed before it was written; look again`,
      );
  }
}

/** All writes at once: without a shared file each waits for QEMU, and the guest waits with it. */
async function writeAll(memory: PhysicalMemory, { writes }: WritePlan): Promise<void> {
  const outcomes = await Promise.allSettled(
    writes.map(async ({ address, after }) => await memory.write(address, after)),
  );
  const failed = outcomes.find(({ status }) => status === "rejected");
  if (failed?.status !== "rejected") return;
  await undo(memory, writes, failed.reason);
  throw failed.reason;
}

async function undo(memory: PhysicalMemory, writes: readonly PlannedWrite[], cause: unknown): Promise<void> {
  const failed: string[] = [];
  for (const { address, before, what } of writes.toReversed()) {
    try {
      await memory.write(address, before);
    } catch {
      failed.push(`${what} at ${hex(address)}`);
    }
  }
  if (failed.length > 0) {
    throw new ImageError(
      "half-written",
      `A write failed and could not be undone (${failed.join(", ")}): a panic may hang; reload the capture kernel in the guest`,
      { cause },
    );
  }
}
