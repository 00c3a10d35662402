/** How far long work is, for who sits at a terminal: one line that is written over again and again. */
import type { Outcome } from "../lab/campaign/outcome.ts";
import type { ScenarioStep } from "../lab/scenario.ts";
import type { Context } from "./context.ts";

/** How fast work goes that began when this was made. */
export class Pace {
  readonly #now: () => number;
  readonly #started: number;

  /** @param now milliseconds, monotonic. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#started = now();
  }

  /**
   * How long the rest takes where `done` of `total` took until now: `about 40 s left`, `about 12 min left`.
   *
   * @param guessMs what one takes, as long as none is done.
   */
  left(done: number, total: number, guessMs = 0): string {
    const each = done === 0 ? guessMs : (this.#now() - this.#started) / done;
    const ms = each * (total - done);
    return ms < 90_000 ? `about ${Math.ceil(ms / 1000)} s left` : `about ${Math.ceil(ms / 60_000)} min left`;
  }
}

/** Work of so many steps, which are about alike. */
export class Progress {
  readonly #context: Pick<Context, "progress">;
  readonly #total: number;
  readonly #now: () => number;
  readonly #pace: Pace;
  #begun = 0;
  #done = 0;
  #shownAt = Number.NEGATIVE_INFINITY;

  /** @param now milliseconds, monotonic. */
  constructor(
    context: Pick<Context, "progress">,
    total: number,
    now: () => number = () => performance.now(),
  ) {
    this.#context = context;
    this.#total = total;
    this.#now = now;
    this.#pace = new Pace(now);
  }

  /** A step is done. @param what is counted, `panics`, and what more is to be said. */
  step(what: string): void {
    this.#done++;
    const now = this.#now();
    // Steps may be thousands a second: a terminal is not.
    if (now - this.#shownAt < SHOWN_EVERY_MS && this.#done < this.#total) return;
    this.#shownAt = now;
    const left = this.#pace.left(this.#done, this.#total);
    this.#context.progress?.(`${this.#done} of ${this.#total} ${what}; ${left}`);
  }

  /** A step begins, and so the one before is done. */
  next(what: string): void {
    if (this.#begun++ > 0) this.step(what);
  }

  /** Takes the line away. */
  end(): void {
    this.#context.progress?.("");
  }
}

const SHOWN_EVERY_MS = 100;

/** What each step took here, seconds (6.1 without KVM, two DIMMs of 1 GiB): their proportions are what counts. */
const STEP_SECONDS: Readonly<Record<ScenarioStep, number>> = {
  boot: 4.7,
  load: 1.3,
  plug: 0.7,
  fill: 14,
  keep: 0.4,
  capture: 4.9,
  evidence: 1.2,
};
const STEP_WORDS: Readonly<Record<ScenarioStep, string>> = {
  boot: "booting a guest",
  load: "loading its capture kernel",
  plug: "adding memory",
  fill: "filling it",
  keep: "keeping the header true",
  capture: "panic, and the capture kernel",
  evidence: "reading the dump",
};
const RUN_SECONDS = Object.values(STEP_SECONDS).reduce((sum, seconds) => sum + seconds, 0);

/** Runs of the lab, whose steps are not alike. */
export class RunProgress {
  readonly #context: Pick<Context, "progress">;
  readonly #total: number;
  readonly #pace: Pace;
  /** In seconds as they were here. */
  #done = 0;
  #current = 0;

  /** @param runs how many. @param now milliseconds, monotonic. */
  constructor(context: Pick<Context, "progress">, runs: number, now?: () => number) {
    this.#context = context;
    this.#total = runs * RUN_SECONDS;
    this.#pace = new Pace(now);
  }

  /** A step begins, and so the one before is done. How fast this machine is, is told by those that are done. */
  begins(step: ScenarioStep): void {
    this.#done += this.#current;
    this.#current = STEP_SECONDS[step];
    this.#context.progress?.(`${STEP_WORDS[step]}; ${this.#pace.left(this.#done, this.#total, 1000)}`);
  }

  /** Takes the line away. */
  end(): void {
    this.#context.progress?.("");
  }
}

/** Panics, and what they gave. */
export class PanicProgress {
  readonly #progress: Progress;
  readonly #counts = { complete: 0, incomplete: 0, "no-dump": 0 };

  constructor(context: Context, total: number) {
    this.#progress = new Progress(context, total);
  }

  /** One more panic. */
  tell({ outcome }: { readonly outcome: Outcome }): void {
    this.#counts[outcome]++;
    const { complete, incomplete, "no-dump": none } = this.#counts;
    this.#progress.step(`panics: ${complete} complete, ${incomplete} incomplete, ${none} without a dump`);
  }

  /** Takes the line away. */
  end(): void {
    this.#progress.end();
  }
}
