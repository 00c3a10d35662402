/** So many at a time: a thousand guests that are opened at once would all be too late, and take gigabytes. */
import { Turns, unlessAborted } from "./turns.ts";

/** A door with some places behind it. */
export class Gate {
  readonly #waiting = new Turns();
  readonly #holdMs: number;
  #free: number;
  #wake: (() => void) | undefined;

  /** @param holdMs after so long a place is given to the next one, whatever becomes of who has it: nobody waits for one that hangs. */
  constructor(places: number, holdMs: number) {
    this.#free = places;
    this.#holdMs = holdMs;
  }

  /**
   * Runs `work` when there is a place for it.
   *
   * @param signal ends the waiting, with its reason.
   */
  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    {
      using _ = await this.#waiting.take(signal);
      while (this.#free <= 0)
        await unlessAborted(new Promise<void>((resolve) => (this.#wake = resolve)), signal);
      this.#free--;
    }
    let held = true;
    const leave = (): void => {
      if (!held) return;
      held = false;
      this.#free++;
      this.#wake?.();
    };
    const timer = setTimeout(leave, this.#holdMs);
    try {
      return await work();
    } finally {
      clearTimeout(timer);
      leave();
    }
  }
}

/** Those of a service. */
export interface Gates {
  /** Targets that are tried for the first time, or again after they were watched. */
  readonly opening: Gate;
  /** Targets that could not be opened before. */
  readonly retrying: Gate;
  /** Looks that hash an image, or search all RAM for one. */
  readonly hashing: Gate;
}

/**
 * An idle QEMU opens in a tenth of a second, and one that does not greet is given up after 1.5 s. On a host that is short
 * of processors both take longer, and who lets others in too soon makes that worse.
 */
const OPEN_HOLD_MS = 10_000;
/** A hash takes a tenth of a second, a search through the RAM of a large guest some seconds; one QMP command at most 10. */
const HASH_HOLD_MS = 15_000;

export function serviceGates(): Gates {
  return {
    opening: new Gate(16, OPEN_HOLD_MS),
    retrying: new Gate(8, OPEN_HOLD_MS),
    hashing: new Gate(4, HASH_HOLD_MS),
  };
}
