/** How far a run of many panics is, for who sits at a terminal. */
import type { Outcome } from "../lab/campaign/outcome.ts";
import type { Context } from "./context.ts";

/** One line that is written over again and again; only on a terminal. */
export class Progress {
  readonly #context: Context;
  readonly #total: number;
  readonly #started = performance.now();
  readonly #counts = { complete: 0, incomplete: 0, "no-dump": 0 };
  #done = 0;

  constructor(context: Context, total: number) {
    this.#context = context;
    this.#total = total;
  }

  /** One more panic. */
  tell({ outcome }: { readonly outcome: Outcome }): void {
    this.#counts[outcome]++;
    this.#done++;
    const left = ((performance.now() - this.#started) / this.#done) * (this.#total - this.#done);
    const { complete, incomplete, "no-dump": none } = this.#counts;
    this.#context.progress?.(
      `${this.#done} of ${this.#total} panics: ${complete} complete, ${incomplete} incomplete, ${none} without a dump; about ${Math.ceil(left / 60_000)} min left`,
    );
  }

  /** Takes the line away. */
  end(): void {
    this.#context.progress?.("");
  }
}
