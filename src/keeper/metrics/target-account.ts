/** The time that one target has spent blind, stale and unknown, by its verdicts. */
import type { Verdict } from "../audit.ts";

/** What a verdict means for a panic at that moment. */
export type Exposure = "blind" | "stale" | "unknown" | "none";

const EXPOSURE: Readonly<Record<Verdict, Exposure>> = {
  accurate: "none",
  inaccurate: "stale",
  "not-loaded": "blind",
  broken: "blind",
  unknown: "unknown",
};

/** Told how long, in ms, more than 0. */
export type OnExposed = (exposure: Exclude<Exposure, "none">, ms: number) => void;

/** One target's clock. From a verdict until the next one, the first one holds. */
export class TargetAccount {
  readonly #onExposed: OnExposed;
  #verdict: Verdict = "unknown";
  #countedUntil: number;

  /** @param now the moment of which on it is watched, ms of a clock that had better be steady. */
  constructor(now: number, onExposed: OnExposed) {
    this.#onExposed = onExposed;
    this.#countedUntil = now;
  }

  get verdict(): Verdict {
    return this.#verdict;
  }

  /** Counts what has passed. A clock that goes backwards counts nothing, and goes on from where it is. */
  advance(now: number): void {
    const passed = now - this.#countedUntil;
    this.#countedUntil = now;
    this.#count(EXPOSURE[this.#verdict], passed);
  }

  judged(verdict: Verdict, now: number): void {
    this.advance(now);
    this.#verdict = verdict;
  }

  /**
   * A change was corrected before there was a verdict on it: what no verdict will ever say.
   *
   * @param before what the look right before the install found. @param reactionMs from the change until the install.
   */
  corrected(before: Verdict, reactionMs: number, now: number): void {
    this.advance(now);
    // Else that time is counted already, as what the verdict says.
    if (EXPOSURE[this.#verdict] === "none") this.#count(EXPOSURE[before], reactionMs);
  }

  /** A system call of ours took `ms`, in which a panic may have found nothing loaded. */
  blind(ms: number): void {
    this.#count("blind", ms);
  }

  #count(exposure: Exposure, ms: number): void {
    if (exposure !== "none" && Number.isFinite(ms) && ms > 0) this.#onExposed(exposure, ms);
  }
}
