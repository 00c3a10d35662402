/** How far long work is, for who sits at a terminal: one line that is written over again and again. */
import type { Outcome } from "../lab/campaign/outcome.ts";
import type { Context } from "./context.ts";

/** Work of so many steps, which are about alike. */
export class Progress {
  readonly #context: Pick<Context, "progress">;
  readonly #total: number;
  readonly #now: () => number;
  readonly #started: number;
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
    this.#started = now();
  }

  /** A step is done. @param what is counted, `panics`, and what more is to be said. */
  step(what: string): void {
    this.#done++;
    const now = this.#now();
    // Steps may be thousands a second: a terminal is not.
    if (now - this.#shownAt < SHOWN_EVERY_MS && this.#done < this.#total) return;
    this.#shownAt = now;
    const left = ((now - this.#started) / this.#done) * (this.#total - this.#done);
    this.#context.progress?.(`${this.#done} of ${this.#total} ${what}; ${leftText(left)}`);
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

/** `about 40 s left`, `about 12 min left`. */
function leftText(ms: number): string {
  return ms < 90_000 ? `about ${Math.ceil(ms / 1000)} s left` : `about ${Math.ceil(ms / 60_000)} min left`;
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
