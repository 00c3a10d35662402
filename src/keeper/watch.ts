/** Keeps one machine's header true for as long as it is wanted: every change only says "look again". */
import { setTimeout as delay } from "node:timers/promises";
import { type Audit, isCorrectable } from "./audit.ts";
import type { CaptureImage } from "../image/locate.ts";
import type { InstallReport } from "./install.ts";
import { isLoss, type WatchedMachine } from "./machine.ts";

/** Who keeps a machine's header true, as far as a watch needs it. `I` is what is told of an install. */
export interface Keeping<I> {
  /** Looks and hashes, without changing anything. @param signal ends it between two reads, with its reason. */
  audit(signal?: AbortSignal): Promise<Audit>;
  /** Takes the hash that the next install will need. @param signal as for {@link audit}. */
  prepare(image: CaptureImage, signal?: AbortSignal): Promise<unknown>;
  /**
   * Looks, and installs what has to be installed.
   *
   * @returns `heldMs`: for how long what was installed has been there already, where that is known.
   */
  update(): Promise<{
    readonly before: Audit;
    readonly installed: I | undefined;
    readonly heldMs?: number | undefined;
  }>;
  /**
   * Proves that what was installed holds, where that takes longer than what was installed may wait to be told of.
   *
   * @returns what had to be installed instead.
   */
  confirm?(): Promise<I | undefined>;
}

/** What happened, in the order in which it did. */
export type WatchEvent<I = InstallReport> =
  | {
      readonly kind: "installed";
      /** What was wrong, as seen right before. */
      readonly before: Audit;
      readonly installed: I;
      /** From the change until the header was there, ms; undefined where nothing told of a change: a look was due. */
      readonly reactionMs: number | undefined;
      /** How long before it a look had found nothing wrong, ms; undefined where there was none. */
      readonly sinceLookMs?: number | undefined;
    }
  /** The first verdict, and each that differs from the one before; it has been hashed. */
  | {
      readonly kind: "verdict";
      readonly audit: Audit;
      /** How long before it a look had found what was told before, ms; a hash, where it is `broken`. */
      readonly sinceLookMs?: number | undefined;
    }
  /** What kept the header from being corrected; it is tried again. */
  | { readonly kind: "failed"; readonly error: Error };

/** How a machine is watched. */
export interface WatchOptions<I = InstallReport> {
  readonly onEvent: (event: WatchEvent<I>) => void;
  readonly signal: AbortSignal;
  /** Milliseconds between two looks where nothing changes: a guest that loads another image tells nobody. Default 1000. */
  readonly lookEveryMs?: number;
  /** Milliseconds without a change after which the image is hashed once more. Default 250. */
  readonly verifyAfterMs?: number;
  /** Milliseconds between two hashes where nothing changes. Default 60,000. */
  readonly verifyEveryMs?: number;
  /** What is done without a reason may take this part of the time: 20 is a twentieth, the default. */
  readonly lookShare?: number;
  /** Milliseconds, monotonic. */
  readonly now?: () => number;
}

const LOOK_EVERY_MS = 1000;
const VERIFY_AFTER_MS = 250;
const VERIFY_EVERY_MS = 60_000;
/** A look that takes long (all RAM is searched where nothing is loaded) may take this share of the time. */
const LOOK_SHARE = 20;
/** However long it takes, this much later there is another one, ms. */
const LONGEST_PAUSE_MS = 300_000;
/** Where calls in vain come without end, the hash is that late at most, ms. */
const OVERDUE_MS = 30_000;
/** Who is called in vain again and again comes later and later, up to this, ms: a flood of events takes no processor. */
const CALMEST_MS = 100;

/**
 * Watches until `signal` is aborted.
 *
 * At most one look is under way, and the next one covers everything that came meanwhile. What is installed is read
 * back at once; that the whole image would pass purgatory is hashed when no change has come for a moment, so that no
 * change has to wait for it.
 *
 * The options for how often are read each time, and may change meanwhile.
 *
 * @throws what says that the machine is lost, and whatever was under way when `signal` was aborted and failed.
 */
export async function watch<I>(
  machine: Pick<WatchedMachine, "onChange">,
  keeper: Keeping<I>,
  options: WatchOptions<I>,
): Promise<void> {
  const { signal, onEvent, now = () => performance.now() } = options;
  const resting = (tookMs: number, atLeastMs: number): number =>
    Math.max(atLeastMs, Math.min(LONGEST_PAUSE_MS, (options.lookShare ?? LOOK_SHARE) * tookMs));
  const doorbell = new Doorbell();
  using _ = machine.onChange(() => doorbell.ring(now()));
  const onAbort = (): void => doorbell.wake();
  signal.addEventListener("abort", onAbort, { once: true });
  const told = new Told(onEvent);
  /** When the image is to be hashed. */
  let verifyAt = now();
  /** When the last look began that found what was told before, and the last hash. */
  let heldAt: number | undefined;
  let hashHeldAt: number | undefined;
  const since = (at: number | undefined): number | undefined => (at === undefined ? undefined : now() - at);
  /** Grows with each call that was in vain: so long after that look nobody is answered. */
  let calmMs = 0;
  let lookedAt = -Infinity;
  try {
    while (!signal.aborted) {
      const calmFor = lookedAt + calmMs - now();
      if (calmFor > 0) await pause(calmFor, signal);
      const changedAt = doorbell.take();
      let startedAt = now();
      let isNewFailure = false;
      try {
        // Changes that are real never wait for a hash: only those that were in vain for a while.
        const overdue = calmMs === CALMEST_MS && startedAt >= verifyAt + OVERDUE_MS;
        if (overdue || (changedAt === undefined && startedAt >= verifyAt)) {
          const verify = async (stop: AbortSignal): Promise<Audit> => await verified(keeper, stop);
          const audit = overdue ? await verify(signal) : await unlessRung(doorbell, verify);
          if (audit === undefined) continue;
          told.verdict(audit, since(audit.verdict === "broken" ? hashHeldAt : heldAt));
          heldAt = startedAt;
          hashHeldAt = startedAt;
          verifyAt = now() + resting(now() - startedAt, options.verifyEveryMs ?? VERIFY_EVERY_MS);
          startedAt = now();
        }
        const { before, installed, heldMs = 0 } = await keeper.update();
        told.success();
        if (installed) {
          const reactionMs = changedAt === undefined ? undefined : now() - heldMs - changedAt;
          onEvent({ kind: "installed", before, installed, reactionMs, sinceLookMs: since(heldAt) });
          heldAt = now();
          const instead = await keeper.confirm?.();
          if (instead) onEvent({ kind: "installed", before, installed: instead, reactionMs: undefined });
        }
        if (!installed && !told.isNews(before)) heldAt = startedAt;
        // Anything that is news has to be borne out by a hash, soon.
        if (installed || told.isNews(before))
          verifyAt = Math.min(verifyAt, now() + (options.verifyAfterMs ?? VERIFY_AFTER_MS));
        calmMs = installed || changedAt === undefined ? 0 : calmer(calmMs);
      } catch (error) {
        if (signal.aborted || isLoss(error) || !(error instanceof Error)) throw error;
        isNewFailure = told.failure(error);
        calmMs = changedAt === undefined ? 0 : calmer(calmMs);
      }
      lookedAt = now();
      // What failed for the first time is tried again soon, however long it took: the header may be wrong meanwhile.
      const rest = resting(isNewFailure ? 0 : lookedAt - startedAt, options.lookEveryMs ?? LOOK_EVERY_MS);
      // Who was told to stop during the look is not to wait for the next one.
      if (!signal.aborted) await doorbell.wait(Math.max(1, Math.min(rest, verifyAt - lookedAt)));
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

function calmer(ms: number): number {
  return Math.min(CALMEST_MS, Math.max(1, 2 * ms));
}

/** Waits, or until `signal` is aborted. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => undefined);
}

/** A verdict that has been hashed, and the hash that the next install needs. */
async function verified(keeper: Keeping<unknown>, stop: AbortSignal): Promise<Audit> {
  const audit = await keeper.audit(stop);
  if (audit.image && isCorrectable(audit.image)) await keeper.prepare(audit.image, stop);
  return audit;
}

/** Runs `work`, which gives up when the doorbell rings or is woken; undefined then. */
async function unlessRung<T>(
  doorbell: Doorbell,
  work: (stop: AbortSignal) => Promise<T>,
): Promise<T | undefined> {
  const stop = new AbortController();
  doorbell.onWake = () => stop.abort();
  try {
    return await work(stop.signal);
  } catch (error) {
    if (stop.signal.aborted) return undefined;
    throw error;
  } finally {
    doorbell.onWake = undefined;
  }
}

/** Says each thing once. */
class Told {
  readonly #onEvent: (event: Exclude<WatchEvent, { kind: "installed" }>) => void;
  #verdict: string | undefined;
  #failure: string | undefined;

  constructor(onEvent: (event: Exclude<WatchEvent, { kind: "installed" }>) => void) {
    this.#onEvent = onEvent;
  }

  isNews(audit: Audit): boolean {
    return this.#verdict !== textOf(audit);
  }

  verdict(audit: Audit, sinceLookMs: number | undefined): void {
    if (!this.isNews(audit)) return;
    this.#verdict = textOf(audit);
    this.#onEvent({ kind: "verdict", audit, sinceLookMs });
  }

  success(): void {
    this.#failure = undefined;
  }

  /** The same failure, look after look, is told of once. @returns whether this one was told of. */
  failure(error: Error): boolean {
    if (this.#failure === error.message) return false;
    this.#failure = error.message;
    // Whatever holds after a failure is news, also where it held before.
    this.#verdict = undefined;
    this.#onEvent({ kind: "failed", error });
    return true;
  }
}

function textOf({ verdict, reason, image }: Audit): string {
  return `${verdict} ${reason} ${image?.headerAddress} ${image?.kimage?.address}`;
}

/** Somebody may have rung since we last looked; when was the first time? */
class Doorbell {
  /** Called when it rings, or when nobody is to wait any longer. */
  onWake: (() => void) | undefined;
  #rungAt: number | undefined;

  ring(at: number): void {
    this.#rungAt ??= at;
    this.wake();
  }

  wake(): void {
    this.onWake?.();
  }

  /** When it rang first since it was last taken. */
  take(): number | undefined {
    const at = this.#rungAt;
    this.#rungAt = undefined;
    return at;
  }

  /** Waits until it rings, or for `ms`. */
  async wait(ms: number): Promise<void> {
    if (this.#rungAt !== undefined) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.onWake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.onWake = undefined;
  }
}
