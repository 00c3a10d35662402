/**
 * Reconcile from inside: look, and bring the loaded image up to date by the shortest way that the kernel permits.
 *
 * Nobody can stop the machine that they run in, so nothing is written in place. The kernel's own handler is left to do its
 * work where it has one; else one kexec_load lists only what changes (a re-arm); and where that is not possible, the
 * capture kernel is loaded in full over the old one. Nothing is ever unloaded.
 */
import type { CoreHeader } from "../elfcore/header.ts";
import { ImageError } from "../image/error.ts";
import type { Sha256 } from "../image/hash.ts";
import type { CaptureImage, HashedImage, LocateHints } from "../image/locate.ts";
import { planRearm, type RearmHashes, type RearmPlan } from "../image/rearm.ts";
import { confirmRearm, verifyRearm } from "../image/rearm-verify.ts";
import { type Audit, isCorrectable } from "./audit.ts";
import { type FullLoad, type InsideMachine, isImageKept } from "./inside-machine.ts";
import { headerOf, type PlacedHeader } from "./install-log.ts";
import { interruptible } from "./interruptible.ts";
import { wantedHeaders, withAllCpus } from "./wanted-headers.ts";
import type { Keeping } from "./watch.ts";

/** A machine that changes the image under us this often in a row is not waited for. */
const MAX_ATTEMPTS = 5;
/** For so long the kernel's own handler is left to do its work, ms: it is called for each block that comes online. */
const KERNEL_TAKES_MS = 500;
const KERNEL_LOOKS = 5;
/** After a load in full that failed, ms until the next one; doubled each time. */
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 60_000;
/** VMCOREINFO's note and the kernel's text. */
const OTHER_PROGRAM_HEADERS = 2;

/** What was done. `after`: the header that is loaded since; undefined where it could not be looked at. */
export type InsideInstall =
  | {
      readonly way: "re-arm";
      /** Duration of the system call, ms: so long a panic found nothing loaded. */
      readonly callMs: number;
      /** What the call listed: the rest stayed in crash memory. */
      readonly segments: number;
      readonly bytes: number;
      /** Whether the kernel says that it keeps the header true itself, and had not. */
      readonly leftByKernel: boolean;
      readonly after: PlacedHeader;
    }
  | {
      readonly way: "full-load";
      readonly callMs: number;
      readonly source: string;
      /** Why it was no re-arm, in words without a full stop. */
      readonly reason: string;
      readonly after: PlacedHeader | undefined;
    };

/** What would be done. */
export type InsideStep =
  | { readonly step: "nothing" }
  /** The kernel keeps the header true itself, and is given the time to. */
  | { readonly step: "leave-to-kernel" }
  | { readonly step: "re-arm"; readonly plan: RearmPlan }
  | { readonly step: "full-load"; readonly reason: string };

/** What one reconcile found and did. */
export interface InsideReconciled {
  readonly before: Audit;
  /** Equal to `before` where nothing was done. */
  readonly after: Audit;
  readonly installed: InsideInstall | undefined;
}

/** What {@link InsideKeeper.load} did. */
export interface InsideLoaded {
  readonly loaded: FullLoad;
  /** The re-arm that gave the header its room; undefined where it had it, or could not get it. */
  readonly widened: InsideInstall | undefined;
  /** Why later changes will cost a load in full each, or the header has less room than asked for; undefined where all is well. */
  readonly drawback: string | undefined;
  readonly after: Audit;
}

/** Ranges for which a header is given room: as many as Linux allows by default (CONFIG_CRASH_MAX_MEMORY_RANGES, v6.6). */
export const ROOM_FOR_RANGES = 8192;

/** Keeps the header of the machine that we run in. Holds only what makes the next look cheaper, and what it owes. */
export class InsideKeeper implements Keeping<InsideInstall> {
  readonly #machine: InsideMachine;
  readonly #sha256: Sha256;
  readonly #hints: LocateHints;
  readonly #now: () => number;
  /** The last image whose digest was found to match. */
  #hashed: HashedImage | undefined;
  #hashes: RearmHashes | undefined;
  /** Set where a load of ours let go of the image and did not put another one in its place. */
  #owed: string | undefined;
  #retryMs = FIRST_RETRY_MS;
  #retryAt = 0;
  /** The last re-arm, as long as the image that it left has not been hashed. */
  #unconfirmed: RearmPlan | undefined;

  /** @param now milliseconds, monotonic. */
  constructor(
    machine: InsideMachine,
    sha256: Sha256,
    { hints = {}, now = () => performance.now() }: { hints?: LocateHints; now?: () => number } = {},
  ) {
    this.#machine = machine;
    this.#sha256 = sha256;
    this.#hints = hints;
    this.#now = now;
  }

  async audit(signal?: AbortSignal): Promise<Audit> {
    const { audit } = await this.#machine.look(this.#hints, signal);
    this.#remember(audit.image);
    return audit;
  }

  /** Hashes what a re-arm of `image` will leave where it is, so that the next one has only the header left to hash. */
  async prepare(image: CaptureImage, signal?: AbortSignal): Promise<void> {
    if (!image.kernel) return;
    try {
      const facts = await this.#machine.rearmFacts(image.kernel);
      const memory = interruptible(this.#machine.memory, signal);
      this.#hashes = (
        await planRearm(memory, this.#sha256, image, image.header, facts, { hashes: this.#hashes })
      ).hashes;
    } catch (error) {
      // What cannot be re-armed is told of when it has to be.
      if (!(error instanceof ImageError)) throw error;
    }
  }

  /** What {@link update} would do now; nothing is touched. */
  async plan(): Promise<{ readonly before: Audit; readonly step: InsideStep }> {
    const { audit, keptByKernel } = await this.#machine.look(this.#hints);
    const isWrong = audit.verdict === "inaccurate" && wantedHeaders(audit).length > 0;
    if (keptByKernel && isWrong) return { before: audit, step: { step: "leave-to-kernel" } };
    return { before: audit, step: await this.#decide(audit) };
  }

  /**
   * One reconcile: {@link update}, then a verdict that has been hashed.
   *
   * @throws as {@link update}.
   */
  async reconcile(): Promise<InsideReconciled> {
    const { before, installed } = await this.update();
    if (!installed) return { before, after: before, installed };
    const instead = await this.confirm();
    return { before, after: await this.audit(), installed: instead ?? installed };
  }

  /**
   * Loads the capture kernel in full, over the one that is loaded if there is one, and gives its header room for
   * {@link ROOM_FOR_RANGES}, so that it will not have to be moved later.
   *
   * @throws what a load in full throws.
   */
  async load(): Promise<InsideLoaded> {
    this.#forget();
    const loaded = await this.#machine.loadInFull();
    const { image, layout } = await this.audit();
    let widened: InsideInstall | undefined;
    let drawback: string | undefined;
    if (image?.kernel) {
      const room = ROOM_FOR_RANGES + layout.cpus.length + OTHER_PROGRAM_HEADERS;
      try {
        drawback = (await this.#machine.rearmRefusals()).join("; ") || undefined;
        const facts = await this.#machine.rearmFacts(image.kernel);
        // One whose header the kernel keeps has that room from the start.
        const isFixed = image.digest.state === "excludes-header";
        const options = isFixed ? {} : { room };
        const plan = await planRearm(
          this.#machine.memory,
          this.#sha256,
          image,
          withAllCpus(image.header, image),
          facts,
          options,
        );
        if (drawback === undefined && plan.headerAddress !== image.headerAddress) {
          const rearmed = await this.#rearm(plan, false);
          widened = (await this.confirm()) ?? rearmed;
        }
      } catch (error) {
        if (!(error instanceof ImageError)) throw error;
        drawback = error.message;
      }
    }
    return { loaded, widened, drawback, after: await this.audit() };
  }

  /**
   * Looks, and does what has to be done.
   *
   * @throws {ImageError} `changed` where the machine kept changing its image meanwhile; what a load in full throws, where
   * that was all that was left. An image that a load of ours let go of is loaded again by later calls.
   */
  async update(): ReturnType<Keeping<InsideInstall>["update"]> {
    // Whoever was to confirm the last one was interrupted.
    await this.confirm();
    for (let attempt = 1; ; attempt++) {
      const { audit: before, keptByKernel } = await this.#lookSettled();
      try {
        return { before, installed: await this.#carryOut(await this.#decide(before), keptByKernel) };
      } catch (error) {
        const isOther = !(error instanceof ImageError) || error.kind !== "changed";
        this.#hashed = undefined;
        if (isOther || attempt === MAX_ATTEMPTS) throw error;
      }
    }
  }

  /**
   * Hashes the image that the last re-arm left, all of it; where it is not whole, loads in full at once.
   *
   * @throws as {@link update}.
   */
  async confirm(): Promise<InsideInstall | undefined> {
    const plan = this.#unconfirmed;
    if (!plan) return undefined;
    const outcome = await verifyRearm(this.#machine.memory, this.#sha256, plan);
    this.#unconfirmed = undefined;
    if (outcome.state === "armed") return undefined;
    this.#forget();
    // Somebody else may have loaded over it meanwhile: what is there now is whole then.
    const { audit } = await this.#machine.look(this.#hints);
    return audit.verdict === "broken" ? await this.#loadInFull(outcome.reason) : undefined;
  }

  /** A look; where the kernel keeps the header true itself, one that gave it the time to. */
  async #lookSettled(): ReturnType<InsideMachine["look"]> {
    let look = await this.#look();
    for (let i = 0; i < KERNEL_LOOKS && look.keptByKernel && look.audit.verdict === "inaccurate"; i++) {
      await new Promise((resolve) => setTimeout(resolve, KERNEL_TAKES_MS / KERNEL_LOOKS));
      look = await this.#look();
    }
    return look;
  }

  async #look(): ReturnType<InsideMachine["look"]> {
    const look = await this.#machine.look({ ...this.#hints, hashed: this.#hashed });
    if (this.#hashed === undefined) this.#remember(look.audit.image);
    return look;
  }

  #remember(image: CaptureImage | undefined): void {
    this.#hashed = image && isCorrectable(image) ? image : undefined;
  }

  #forget(): void {
    this.#unconfirmed = undefined;
    this.#hashed = undefined;
    this.#hashes = undefined;
  }

  async #decide(audit: Audit): Promise<InsideStep> {
    const { verdict, reason, image } = audit;
    // What is accurate is not touched, not even for notes of CPUs that are not there yet: each call has its moment.
    if (verdict === "broken") return { step: "full-load", reason };
    if (verdict === "not-loaded" && this.#owed !== undefined)
      return { step: "full-load", reason: this.#owed };
    const wanted = wantedHeaders(audit);
    if (verdict !== "inaccurate" || !image || wanted.length === 0) return { step: "nothing" };
    // A panic is under way: whatever is done now comes too late or in its way.
    if (image.usedCpuNote !== undefined) return { step: "nothing" };
    const refusals = await this.#machine.rearmRefusals();
    if (refusals.length > 0) return { step: "full-load", reason: refusals.join("; ") };
    return await this.#decideRearm(image, wanted);
  }

  /** A re-arm with the first of `wanted` that has a place. */
  async #decideRearm(image: CaptureImage, [wanted, ...others]: readonly CoreHeader[]): Promise<InsideStep> {
    if (!wanted) throw new TypeError("There is no header to install");
    if (!image.kernel)
      return { step: "full-load", reason: "the kernel's pointer to the loaded image was not found" };
    try {
      const facts = await this.#machine.rearmFacts(image.kernel);
      const { memory } = this.#machine;
      return {
        step: "re-arm",
        plan: await planRearm(memory, this.#sha256, image, wanted, facts, { hashes: this.#hashes }),
      };
    } catch (error) {
      if (!(error instanceof ImageError) || error.kind === "changed" || error.kind === "panicking")
        throw error;
      if (error.kind === "header-too-large" && others.length > 0)
        return await this.#decideRearm(image, others);
      return { step: "full-load", reason: error.message };
    }
  }

  async #carryOut(step: InsideStep, leftByKernel: boolean): Promise<InsideInstall | undefined> {
    if (step.step === "re-arm") return await this.#rearm(step.plan, leftByKernel);
    if (step.step === "full-load") return await this.#loadInFull(step.reason);
    return undefined;
  }

  async #rearm(plan: RearmPlan, leftByKernel: boolean): Promise<InsideInstall | undefined> {
    const { memory } = this.#machine;
    let callMs: number;
    try {
      callMs = await this.#machine.rearm(plan, async () => await confirmRearm(memory, plan));
    } catch (error) {
      if (isImageKept(error) || error instanceof ImageError) throw error;
      this.#owed = `a re-arm let go of the image and loaded none (${messageOf(error)})`;
      return await this.#loadInFull(this.#owed);
    }
    this.#unconfirmed = plan;
    this.#hashed = { headerAddress: plan.headerAddress, digest: plan.digest };
    this.#hashes = plan.hashes;
    const bytes = plan.segments.reduce((sum, { size }) => sum + size, 0);
    const after = { address: plan.headerAddress, header: plan.header };
    return { way: "re-arm", callMs, segments: plan.segments.length, bytes, leftByKernel, after };
  }

  /** undefined where the last one failed a moment ago: it is tried again later, each time after twice the time. */
  async #loadInFull(reason: string): Promise<InsideInstall | undefined> {
    if (this.#now() < this.#retryAt) return undefined;
    this.#forget();
    const { callMs, source } = await this.#tryLoadInFull(reason);
    this.#owed = undefined;
    this.#retryMs = FIRST_RETRY_MS;
    const { image } = (await this.#look()).audit;
    const after = image && headerOf(image);
    return { way: "full-load", callMs, source, reason, after };
  }

  async #tryLoadInFull(reason: string): Promise<FullLoad> {
    try {
      return await this.#machine.loadInFull();
    } catch (error) {
      this.#retryAt = this.#now() + this.#retryMs;
      this.#retryMs = Math.min(2 * this.#retryMs, LONGEST_RETRY_MS);
      if (!isImageKept(error))
        this.#owed ??= `a load let go of the image and loaded none (${messageOf(error)})`;
      throw new FullLoadError(`${reason}; and that failed: ${messageOf(error)}`, { cause: error });
    }
  }
}

/** Raised where a load in full was all that was left, and failed. */
export class FullLoadError extends Error {
  override readonly name = "FullLoadError";
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
