/**
 * Our own ways of keeping a header true, level-triggered: a change only says "look again", at most one action is under
 * way, and the next one covers everything that came meanwhile.
 */
import type { VirtualClock } from "./clock.ts";
import type { Costs } from "./costs.ts";
import type { Kexec } from "./kexec.ts";
import { type Program, sleep, spawn } from "./process.ts";

/** Who acts when something changes, beside udev and the kernel's own handler. */
export type Keeper = "in-place" | "re-arm" | "nobody";

/** A keeper at work. */
export class ReconcileLoop {
  readonly #act: () => Program;
  #running = false;
  #again = false;

  /** @param act - looks at the machine and brings the header up to date. */
  constructor(act: () => Program) {
    this.#act = act;
  }

  /** Something may have changed. */
  change(): void {
    this.#again = true;
    if (this.#running) return;
    this.#running = true;
    spawn(this.#loop(), () => (this.#running = false));
  }

  *#loop(): Program {
    while (this.#again) {
      this.#again = false;
      yield* this.#act();
    }
  }
}

/** What `keeper` does when it looks; undefined where nobody looks. */
export function keeperAction(
  keeper: Keeper,
  { clock, costs, kexec }: { readonly clock: VirtualClock; readonly costs: Costs; readonly kexec: Kexec },
): (() => Program) | undefined {
  switch (keeper) {
    case "in-place":
      return function* () {
        yield sleep(clock, costs.reaction);
        kexec.install();
      };
    case "re-arm":
      return function* () {
        yield sleep(clock, costs.reaction);
        yield* kexec.rearm();
      };
    case "nobody":
      return undefined;
  }
}
