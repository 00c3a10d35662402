/** Reconcile: look at layout and header as they are, install the difference, verify. */
import { encodeCoreHeader } from "../elfcore/encode.ts";
import type { CoreHeader } from "../elfcore/header.ts";
import { equalBytes } from "../image/bytes.ts";
import type { DigestPrefix } from "../image/digest.ts";
import { ImageError } from "../image/error.ts";
import type { Sha256 } from "../image/hash.ts";
import type { RunningKernel } from "../image/kernel.ts";
import { type CaptureImage, locateImage, type LocateHints, type Location } from "../image/locate.ts";
import { MemoryAccessError } from "../image/memory.ts";
import type { PlannedWrite } from "../image/plan.ts";
import { wantedHeader } from "../layout/wanted.ts";
import { type Audit, isCorrectable, judge } from "./audit.ts";
import { install, type InstallReport, PrefixCache } from "./install.ts";
import type { Machine } from "./machine.ts";

/** A machine that changes the image under us this often in a row is not waited for. */
export const MAX_ATTEMPTS = 5;

/** What one reconcile found and did. */
export interface Reconciled {
  readonly before: Audit;
  /** Equal to `before` where nothing was installed. */
  readonly after: Audit;
  readonly installed: InstallReport | undefined;
}

/** Keeps one machine's header true. Holds only what makes the next look cheaper, never what it believes true. */
export class Keeper {
  readonly #machine: Machine;
  readonly #sha256: Sha256;
  readonly #hints: LocateHints;
  readonly #prefixes = new PrefixCache();
  #kernel: RunningKernel | undefined;
  /** The last image whose digest was computed, or that we have changed since. */
  #hashed: CaptureImage | undefined;

  constructor(machine: Machine, sha256: Sha256, hints: LocateHints = {}) {
    this.#machine = machine;
    this.#sha256 = sha256;
    this.#hints = hints;
  }

  /** Looks, without changing anything. */
  async audit(): Promise<Audit> {
    const audit = await this.#look(undefined);
    this.#hashed = audit.image;
    return audit;
  }

  /**
   * One reconcile.
   *
   * Whether something has to be installed is seen without hashing an image that was hashed before: what keeps a dump
   * incomplete is the time until the header is there. What is returned as `after` has been hashed.
   *
   * @throws {ImageError} where the header that should be cannot be installed, or the machine kept changing its
   * image meanwhile.
   */
  async reconcile(): Promise<Reconciled> {
    for (let attempt = 1; ; attempt++) {
      const before = (await this.#lookForWork()) ?? (await this.audit());
      const { image } = before;
      const wanted = this.#wanted(before);
      if (!image || !wanted) return { before, after: before, installed: undefined };
      try {
        const prefix = await this.prepare(image);
        const installed = await install(this.#machine, image, wanted, prefix);
        this.#prefixes.follow(image, installed.writes);
        return { before, after: await this.audit(), installed };
      } catch (error) {
        if (!(error instanceof ImageError) || error.kind !== "changed" || attempt === MAX_ATTEMPTS)
          throw error;
        this.#hashed = undefined;
      }
    }
  }

  /** The hash that the next install into `image` needs, taken now, so that it has only the header left to hash. */
  async prepare(image: CaptureImage): Promise<DigestPrefix | undefined> {
    return this.#prefixes.for(this.#machine.memory, this.#sha256, image);
  }

  /** Tells that `writes` were made in `image`, so that the hash of the rest is kept. */
  follow(image: CaptureImage, writes: readonly PlannedWrite[]): void {
    this.#prefixes.follow(image, writes);
  }

  /** A look that hashes nothing; undefined where it cannot be had, or finds nothing to install. */
  async #lookForWork(): Promise<Audit | undefined> {
    const audit = this.#hashed && (await this.#look(this.#hashed));
    return audit && this.#wanted(audit) ? audit : undefined;
  }

  async #look(hashed: CaptureImage | undefined): Promise<Audit> {
    const location = await this.#locate({ ...this.#hints, hashed });
    this.#kernel = location.found === "image" ? location.image.kernel : undefined;
    return judge(location, await this.#machine.layout());
  }

  /** First by what is known of the kernel; where that leads to no image, from scratch: it may have been reset. */
  async #locate(hints: LocateHints): Promise<Location> {
    if (this.#kernel) {
      try {
        const known = { ...hints, kernel: this.#kernel };
        const location = await locateImage(this.#machine.memory, this.#sha256, known);
        if (location.found === "image") return location;
      } catch (error) {
        if (!(error instanceof ImageError || error instanceof MemoryAccessError)) throw error;
      }
    }
    return locateImage(this.#machine.memory, this.#sha256, hints);
  }

  /** The header that should be, or undefined where the loaded one is right or may not be touched. */
  #wanted({ image, missing, stale, layout }: Audit): CoreHeader | undefined {
    if (!image || !isCorrectable(image) || (missing.isEmpty && stale.isEmpty)) return undefined;
    const wanted = wantedHeader(image.header, layout);
    return equalBytes(encodeCoreHeader(wanted), encodeCoreHeader(image.header)) ? undefined : wanted;
  }
}
