/** One in-place install: hash first, then pause, check that nothing moved, write, resume, read back. */
import type { CoreHeader } from "../elfcore/header.ts";
import { equalBytes } from "../image/bytes.ts";
import { hex } from "../elfcore/hex.ts";
import { DigestPrefix } from "../image/digest.ts";
import { ImageError } from "../image/error.ts";
import type { Sha256 } from "../image/hash.ts";
import type { CaptureImage } from "../image/locate.ts";
import type { PhysicalMemory } from "../image/memory.ts";
import { planMove } from "../image/move.ts";
import { planInstall, type PlannedWrite, type WritePlan } from "../image/plan.ts";
import { ImageCheck, Place } from "./image-check.ts";
import { endedWith, intend, type Logged } from "./install-log.ts";
import type { Machine } from "./machine.ts";

/** What an install did. */
export interface InstallReport {
  readonly writes: readonly PlannedWrite[];
  readonly pauseMicroseconds: number | undefined;
  /**
   * For how long the last byte had been there when this was told, ms: meanwhile the machine was let run, and what was
   * written was read back. Undefined where nobody measured it.
   */
  readonly heldMs?: number;
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
  const check = new ImageCheck(machine.memory, image);
  await check.run();
  const places = placesOf(machine.memory, plan);
  const { microseconds, value: writtenAt } = await machine.paused(async () => {
    // All reads at once: without a shared file each waits for QEMU, and the guest waits with it.
    await Promise.all([check.run(), checkBefore(plan, places)]);
    await writeAll(machine.memory, plan);
    return performance.now();
  });
  for (const { address, after, what } of plan.writes) {
    if (!equalBytes(await machine.memory.read(address, after.length), after)) {
      throw new ImageError(
        "changed",
        `The ${what} at ${hex(address)} was changed right after it was written; look again`,
      );
    }
  }
  const heldMs = performance.now() - writtenAt;
  return { writes: plan.writes, pauseMicroseconds: microseconds, heldMs };
}

/**
 * Called while the machine stands still. Every byte that is written must be what the plan says; a write that fails
 * is undone with what was written before it.
 *
 * @throws {ImageError} `changed` before anything was written; `half-written` where a write failed and could not be
 * undone. Where it could, what the write threw.
 */
export async function applyPlan(memory: PhysicalMemory, plan: WritePlan): Promise<void> {
  await checkBefore(plan, placesOf(memory, plan));
  await writeAll(memory, plan);
}

/** Where each write of `plan` goes. */
function placesOf(memory: PhysicalMemory, { writes }: WritePlan): readonly Place[] {
  return writes.map(({ address, before }) => new Place(memory, address, before.length));
}

/** @throws {ImageError} `changed` where a byte that is to be written is not what the plan says. */
async function checkBefore({ writes }: WritePlan, places: readonly Place[]): Promise<void> {
  const found = await Promise.all(places.map(async (place) => place.read()));
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
