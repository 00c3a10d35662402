/** One target of a service, from when it is wanted until it is not: opened, watched, lost, opened again. */
import { setTimeout as delay } from "node:timers/promises";
import type { Keeper } from "../keeper.ts";
import { isAbsence, isSilence, type Machine } from "../machine.ts";
import type { TargetEvent } from "../service-event.ts";
import { watch, type WatchEvent } from "../watch.ts";
import type { Gates } from "./gate.ts";
import { inTurns, Kept, type ServedMachine } from "./kept.ts";
import type { Pace } from "./pace.ts";
import { unlessAborted } from "./turns.ts";

/** What a machine is opened with. */
export interface OpenOptions {
  /** Ends the opening. */
  readonly signal: AbortSignal;
  /** For machines that must be asked for what changed: how long until the next time, ms. */
  readonly pollEveryMs: () => number;
}

/** Opens the machine of a target, to be changed by nobody else. */
export type OpenTarget = (target: string, options: OpenOptions) => Promise<ServedMachine>;

/** Makes the keeper of a machine that was opened. */
export type MakeKeeper = (target: string, machine: Machine) => Keeper;

/** What all loops of a service share. */
export interface LoopOptions {
  readonly open: OpenTarget;
  readonly makeKeeper: MakeKeeper;
  readonly pace: Pace;
  readonly gates: Gates;
  /** Told of everything, in order. Must not throw. */
  readonly tell: (target: string, event: TargetEvent) => void;
  /** Milliseconds, monotonic. */
  readonly now: () => number;
  /** How long opening may take, ms; default 30,000. */
  readonly openLimitMs?: number | undefined;
  /** The first and the longest pause between two tries, ms; default 1000 and 30,000. */
  readonly retryMs?: readonly [first: number, longest: number] | undefined;
}

/** Whether a target is watched, and if not, why. */
export interface TargetStatus {
  readonly target: string;
  readonly state: "watched" | "waiting";
  /** Why it is not watched, without a full stop. */
  readonly reason: string | undefined;
}

const OPEN_LIMIT_MS = 30_000;
const RETRY_MS = [1000, 30_000] as const;
/** A machine that was watched this long, ms, is tried again at once when it is lost; one that comes and goes is not. */
const STEADY_MS = 10_000;
/** How long a lost machine may take to be let go of, ms; it goes on by itself after that. */
const CLOSE_LIMIT_MS = 3000;

/** The loop of one target. */
export class TargetLoop {
  readonly target: string;
  /** Settles when the loop is over. Never rejects. */
  readonly ended: Promise<void>;
  readonly #options: LoopOptions;
  readonly #stop = new AbortController();
  #kept: Kept | undefined;
  #retired = false;
  #poke: (() => void) | undefined;
  #poked = false;
  #reason: string | undefined;
  /** What was told last of whether it is there. */
  #told: "found" | "gone" | undefined;

  constructor(target: string, options: LoopOptions) {
    this.target = target;
    this.#options = options;
    this.ended = this.#run();
  }

  /** The open machine, while there is one. */
  get kept(): Kept | undefined {
    return this.#kept;
  }

  get status(): TargetStatus {
    const watched = this.#kept !== undefined;
    return {
      target: this.target,
      state: watched ? "watched" : "waiting",
      reason: watched ? undefined : this.#reason,
    };
  }

  /** There is reason to believe that it can be opened now. */
  poke(): void {
    this.#poked = true;
    this.#poke?.();
  }

  /** It is not listed any more: the loop ends, but not before a machine that is open has ended. */
  retire(): void {
    this.#retired = true;
    this.#poke?.();
  }

  /** It is listed again. */
  recall(): void {
    this.#retired = false;
  }

  /**
   * Lets go of it: what is being installed is brought to its end, then the loop ends.
   *
   * @param reason told as the last event; nothing is told where it is left out.
   * @param limitMs how long it may take, but for a pause that is under way: that ends, however long it takes.
   * @returns whether it has ended.
   */
  async stop(reason: string | undefined, limitMs: number): Promise<boolean> {
    const kept = this.#kept;
    this.#stop.abort(new Error("The service ends"));
    this.#poke?.();
    const interrupted = kept?.machine.interrupt().catch(() => undefined);
    const over = (async () => {
      await interrupted;
      await this.ended;
    })();
    const inTime = await within(over, limitMs);
    if (!inTime) await kept?.pauseEnded();
    if (reason !== undefined) this.#gone(reason);
    return inTime;
  }

  async #run(): Promise<void> {
    // Whoever made this has to have it before the first event.
    await Promise.resolve();
    const [first, longest] = this.#options.retryMs ?? RETRY_MS;
    let restMs = first;
    while (!this.#isOver()) {
      const startedAt = this.#options.now();
      this.#poked = false;
      const opened = await this.#attend();
      if (this.#isOver()) break;
      if (opened && this.#options.now() - startedAt > STEADY_MS) restMs = first;
      await this.#rest(restMs);
      restMs = this.#poked ? first : Math.min(longest, 2 * restMs);
    }
    if (!this.#stop.signal.aborted) this.#gone("it is not there any more");
  }

  #isOver(): boolean {
    return this.#stop.signal.aborted || this.#retired;
  }

  /** Opens and watches until it is lost. Never throws. @returns whether it could be opened. */
  async #attend(): Promise<boolean> {
    const { signal } = this.#stop;
    const { gates } = this.#options;
    let machine: ServedMachine;
    try {
      // Who failed before does not stand in the way of those who come.
      const gate = this.#reason === undefined ? gates.opening : gates.retrying;
      machine = await gate.run(async () => await this.#open(), signal);
    } catch (error) {
      if (!signal.aborted) this.#missed(error);
      return false;
    }
    const kept = new Kept(machine);
    this.#kept = kept;
    const { pace } = this.#options;
    using _ = pace.enter(this);
    try {
      this.#tell({ kind: "found" });
      const options = {
        onEvent: (event: WatchEvent) => this.#heard(event),
        signal,
        get lookEveryMs() {
          return pace.lookEveryMs;
        },
        get verifyEveryMs() {
          return pace.verifyEveryMs;
        },
        get verifyAfterMs() {
          return pace.verifyAfterMs;
        },
        get lookShare() {
          return pace.lookShare;
        },
        now: this.#options.now,
      };
      const keeper = inTurns(kept, this.#options.makeKeeper(this.target, kept));
      const audit = this.#gated(async (stop?: AbortSignal) => await keeper.audit(stop));
      await watch(machine, { ...keeper, audit }, options);
    } catch (error) {
      this.#kept = undefined;
      if (!signal.aborted) this.#lost(error);
    } finally {
      this.#kept = undefined;
      // What goes wrong in closing says no more than what was told already.
      await within(closed(machine), CLOSE_LIMIT_MS);
    }
    return true;
  }

  /** Hashes of all targets: some at a time, and what they take is what the pace goes by. */
  #gated<T>(audit: (stop?: AbortSignal) => Promise<T>): (stop?: AbortSignal) => Promise<T> {
    const { now, pace, gates } = this.#options;
    return async (stop) =>
      await gates.hashing.run(async () => {
        const started = now();
        const result = await audit(stop);
        pace.hashed(now() - started);
        return result;
      }, stop);
  }

  /** @throws what opening throws; where it takes too long, that. What comes after that is closed again. */
  async #open(): Promise<ServedMachine> {
    const { open, pace, openLimitMs = OPEN_LIMIT_MS } = this.#options;
    const tooLate = new Error(`It did not open within ${openLimitMs / 1000} s`);
    // No AbortSignal.any: in a process that runs for months each would stay with the signal that it follows.
    const limit = new AbortController();
    const onStop = (): void => limit.abort(this.#stop.signal.reason);
    const timer = setTimeout(() => limit.abort(tooLate), openLimitMs);
    this.#stop.signal.addEventListener("abort", onStop, { once: true });
    const { signal } = limit;
    const opening = open(this.target, { signal, pollEveryMs: () => pace.pollEveryMs(this) });
    try {
      return await unlessAborted(opening, signal);
    } catch (error) {
      opening.then(closed, () => undefined);
      throw signal.aborted ? signal.reason : error;
    } finally {
      clearTimeout(timer);
      this.#stop.signal.removeEventListener("abort", onStop);
    }
  }

  async #rest(ms: number): Promise<void> {
    if (this.#poked || this.#isOver()) return;
    const awake = new AbortController();
    this.#poke = () => awake.abort();
    await delay(ms, undefined, { signal: awake.signal }).catch(() => undefined);
    this.#poke = undefined;
  }

  #heard(event: WatchEvent): void {
    if (event.kind === "installed") this.#options.pace.changed(this);
    this.#options.tell(this.target, event);
  }

  #missed(error: unknown): void {
    const reason = words(error);
    // That it has ended was told already.
    const isNews = !(this.#told === "gone" && isAbsence(error)) && reason !== this.#reason;
    if (isNews) this.#tell({ kind: "unreachable", reason });
    this.#reason = reason;
  }

  #lost(error: unknown): void {
    const reason = words(error);
    if (isSilence(error)) this.#tell({ kind: "unreachable", reason });
    else this.#gone(reason);
    this.#reason = reason;
  }

  #gone(reason: string): void {
    if (this.#told !== "gone") this.#tell({ kind: "gone", reason });
  }

  #tell(event: TargetEvent): void {
    if (event.kind === "found" || event.kind === "gone") this.#told = event.kind;
    if (event.kind === "found") this.#reason = undefined;
    this.#options.tell(this.target, event);
  }
}

async function closed(machine: ServedMachine): Promise<void> {
  try {
    await machine[Symbol.asyncDispose]();
  } catch {
    // See above.
  }
}

/** Whether `work`, which does not throw, came to its end in `ms`. */
async function within(work: Promise<unknown>, ms: number): Promise<boolean> {
  const timer = new AbortController();
  const late = delay(ms, false, { signal: timer.signal }).catch(() => false);
  const inTime = await Promise.race([work.then(() => true), late]);
  timer.abort();
  return inTime;
}

function words(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\.$/, "");
}
