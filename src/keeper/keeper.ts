/** Reconcile: look at layout and header as they are, install the difference, verify. */
import type { CoreHeader } from "../elfcore/header.ts";
import type { DigestPrefix } from "../image/digest.ts";
import { ImageError } from "../image/error.ts";
import type { Sha256 } from "../image/hash.ts";
import type { RunningKernel } from "../image/kernel.ts";
import { type CaptureImage, locateImage, type LocateHints, type Location } from "../image/locate.ts";
import { MemoryAccessError, type PhysicalMemory } from "../image/memory.ts";
import { fitsInPlace, type PlannedWrite } from "../image/plan.ts";
import { withRegionLast } from "../image/purgatory.ts";
import { RangeSet } from "../layout/range-set.ts";
import { type Audit, isCorrectable, judge } from "./audit.ts";
import { install, type InstallReport, move, PrefixCache } from "./install.ts";
import { type InstallCause, type InstallLog, intend, type Logged, type OpenInstall } from "./install-log.ts";
import { interruptible } from "./interruptible.ts";
import type { Machine } from "./machine.ts";
import { wantedHeaders, withAllCpus } from "./wanted-headers.ts";
import type { Keeping } from "./watch.ts";

/** A machine that changes the image under us this often in a row is not waited for. */
export const MAX_ATTEMPTS = 5;

/** What one reconcile found and did. */
export interface Reconciled {
  readonly before: Audit;
  /** Equal to `before` where nothing was installed. */
  readonly after: Audit;
  readonly installed: InstallReport | undefined;
}

/** What {@link Keeper.update} found and did. */
export interface Updated {
  readonly before: Audit;
  /** Whether the digest in `before` was computed, and not only found where it was. */
  readonly isHashed: boolean;
  readonly installed: InstallReport | undefined;
  /** As {@link InstallReport.heldMs}. */
  readonly heldMs?: number | undefined;
}

/**
 * Keeps one machine's header true. Holds only what makes the next look cheaper, never what it believes true.
 *
 * @example
 * ```ts
 * import { Keeper, nodeSha256, parseSpec, SimulatedTarget } from "kdump-hotplug";
 *
 * // A simulated machine; a real one is whatever implements the interface Machine.
 * const machine = SimulatedTarget.open("sim:6.1,dimm=1G", parseSpec("6.1,dimm=1G"), nodeSha256);
 * const keeper = new Keeper(machine, nodeSha256);
 * const { before, after, installed } = await keeper.reconcile();
 * console.log(before.verdict, before.missing.bytes); // inaccurate 1073741824n
 * console.log(after.verdict, installed?.writes.map(({ what }) => what).join(", ")); // accurate header, region-table, digest
 * ```
 */
export class Keeper implements Keeping<InstallReport> {
  readonly #machine: Machine;
  readonly #sha256: Sha256;
  readonly #hints: LocateHints;
  readonly #log: InstallLog | undefined;
  readonly #prefixes = new PrefixCache();
  #kernel: RunningKernel | undefined;
  /** The last image whose digest was found to match, with what we have changed since. */
  #hashed: CaptureImage | undefined;
  /** RAM at the last look that asked for it. */
  #ram: RangeSet | undefined;

  /** @param log told of each install before the machine is paused for it, and afterwards. */
  constructor(machine: Machine, sha256: Sha256, hints: LocateHints = {}, log?: InstallLog) {
    this.#machine = machine;
    this.#sha256 = sha256;
    this.#hints = hints;
    this.#log = log;
  }

  /**
   * Looks, without changing anything.
   *
   * @param signal ends it between two reads: the hash takes a while. @throws the signal's reason then.
   */
  async audit(signal?: AbortSignal): Promise<Audit> {
    const audit = await this.#look(undefined, signal);
    this.#hashed = audit.image && isCorrectable(audit.image) ? audit.image : undefined;
    return audit;
  }

  /**
   * One reconcile: {@link update}, then a verdict that has been hashed.
   *
   * @throws {ImageError} where the header that should be cannot be installed, or the machine kept changing its
   * image meanwhile.
   */
  async reconcile(): Promise<Reconciled> {
    for (let attempt = 1; ; attempt++) {
      const { before, isHashed, installed } = await this.update();
      if (!installed && isHashed) return { before, after: before, installed };
      const after = await this.audit();
      if (installed) return { before, after, installed };
      // What a look without a hash did not see, or what came since, is worth another one.
      if (this.#wanted(after).length === 0 || attempt === MAX_ATTEMPTS)
        return { before: after, after, installed };
    }
  }

  /**
   * Installs what has to be installed, without hashing an image that was hashed before: what keeps a dump incomplete
   * is the time until the header is there.
   *
   * @throws as {@link reconcile}.
   */
  async update(): Promise<Updated> {
    for (let attempt = 1; ; attempt++) {
      const isHashed = this.#hashed === undefined;
      const before = isHashed ? await this.audit() : await this.#look(this.#hashed);
      const { image } = before;
      const wanted = this.#wanted(before);
      if (!image || wanted.length === 0) return { before, isHashed, installed: undefined };
      try {
        const { missing, stale, cpus } = before;
        const logged = this.#logged({ why: "reconcile", missing, stale, presentCpus: cpus.present });
        const installed = await this.#put(image, wanted, logged);
        return { before, isHashed, installed, heldMs: installed.heldMs };
      } catch (error) {
        // Where there is no room nothing was touched: what was hashed still holds, and the next look need not hash.
        if (!(error instanceof ImageError) || error.kind !== "header-too-large") this.#hashed = undefined;
        if (!(error instanceof ImageError) || error.kind !== "changed" || attempt === MAX_ATTEMPTS)
          throw error;
      }
    }
  }

  /**
   * Moves the header of `image`, with the notes of all possible CPUs, to a place where it can grow: for those who are
   * about to add to the machine.
   *
   * @throws {ImageError} `header-too-large` where there is no such place, with the reason; what a reconcile throws.
   */
  async makeRoom(image: CaptureImage): Promise<InstallReport> {
    return this.#move(image, image.header, this.#logged(causeOf("make-room")));
  }

  /**
   * Tells the log, where there is one, that `image` will be written in the next pause: for those who write themselves.
   * What they write they tell then, and how it ended.
   */
  async intend(image: CaptureImage): Promise<OpenInstall | undefined> {
    return intend(this.#machine, this.#logged(causeOf("plug")), image, undefined);
  }

  /**
   * The hash that the next install into `image` needs, taken now, so that it has only the header left to hash.
   *
   * @param signal as for {@link audit}.
   */
  async prepare(image: CaptureImage, signal?: AbortSignal): Promise<DigestPrefix | undefined> {
    return this.#prefixes.for(interruptible(this.#machine.memory, signal), this.#sha256, image);
  }

  /** Tells that `writes` were made in `image`, so that the hash of the rest is kept. */
  follow(image: CaptureImage, writes: readonly PlannedWrite[]): void {
    this.#prefixes.follow(image, writes);
    this.#hashed = withWrites(image, writes);
  }

  /** Installs the first of `wanted` that can be: where the header is, or, where it has no room there, at a new place. */
  async #put(
    image: CaptureImage,
    [wanted, ...others]: readonly CoreHeader[],
    logged: Logged | undefined,
  ): Promise<InstallReport> {
    if (!wanted) throw new TypeError("There is no header to install");
    if (!fitsInPlace(image, wanted)) {
      try {
        return await this.#move(image, wanted, logged);
      } catch (error) {
        const canTry = others.length > 0 && error instanceof ImageError && error.kind === "header-too-large";
        if (!canTry) throw error;
        return this.#put(image, others, logged);
      }
    }
    const installed = await install(this.#machine, image, wanted, await this.prepare(image), logged);
    this.follow(image, installed.writes);
    return installed;
  }

  /**
   * Whoever gets a new place gets one with the notes of all possible CPUs. Header, boot parameters and region table are
   * others afterwards: the next look hashes the image anew.
   */
  async #move(image: CaptureImage, wanted: CoreHeader, logged: Logged | undefined): Promise<InstallReport> {
    const installed = await move(this.#machine, this.#sha256, image, withAllCpus(wanted, image), logged);
    this.#hashed = undefined;
    return installed;
  }

  #logged(cause: InstallCause): Logged | undefined {
    return this.#log && { log: this.#log, cause };
  }

  async #look(hashed: CaptureImage | undefined, signal?: AbortSignal): Promise<Audit> {
    const { memory } = this.#machine;
    // Who spares the hash spares the question for all RAM too: the image lies in boot RAM.
    if (!hashed || !this.#ram) this.#ram = RangeSet.of(await memory.ranges());
    const hints = { ...this.#hints, hashed, ram: this.#ram };
    const location = await this.#locate(interruptible(memory, signal), hints);
    this.#kernel = location.found === "image" ? location.image.kernel : undefined;
    return judge(location, await this.#machine.layout());
  }

  /** First by what is known of the kernel; where that leads to no image, from scratch: it may have been reset. */
  async #locate(memory: PhysicalMemory, hints: LocateHints): Promise<Location> {
    if (this.#kernel) {
      try {
        const known = { ...hints, kernel: this.#kernel };
        const location = await locateImage(memory, this.#sha256, known);
        if (location.found === "image") return location;
      } catch (error) {
        if (!(error instanceof ImageError || error instanceof MemoryAccessError)) throw error;
      }
    }
    return locateImage(memory, this.#sha256, hints);
  }

  /** None where the loaded one may not be touched. */
  #wanted(audit: Audit): readonly CoreHeader[] {
    return audit.image && isCorrectable(audit.image) ? wantedHeaders(audit) : [];
  }
}

/** Of an install for which nothing was wrong before. */
function causeOf(why: InstallCause["why"]): InstallCause {
  return { why, missing: RangeSet.empty, stale: RangeSet.empty, presentCpus: undefined };
}

/** `image` with the digest that `writes` gave it. */
function withWrites(image: CaptureImage, writes: readonly PlannedWrite[]): CaptureImage {
  const { digest } = image;
  const value = writes.find(({ what }) => what === "digest")?.after;
  if (digest.state !== "covers-header" || !value) return image;
  const moved = writes.some(({ what }) => what === "region-table");
  const regions = moved ? withRegionLast(digest.table.regions, image.headerAddress) : digest.table.regions;
  return { ...image, digest: { ...digest, value, table: { ...digest.table, regions } } };
}
