/** Whether a loop still turns: for those who would end a keeper that hangs. */

/** Told of each turn by the loop itself, and asked by others. */
export class Heartbeat {
  readonly #limitMs: number;
  readonly #now: () => number;
  #beatAt: number;

  /** @param limitMs how long a turn may take. @param now ms, monotonic. */
  constructor(limitMs: number, now: () => number = () => performance.now()) {
    this.#limitMs = limitMs;
    this.#now = now;
    this.#beatAt = now();
  }

  beat(): void {
    this.#beatAt = this.#now();
  }

  /** Why it is taken for dead, one clause; undefined where it is alive. */
  notAlive(): string | undefined {
    const age = this.#now() - this.#beatAt;
    return age > this.#limitMs
      ? `the main loop has not turned for ${(age / 1000).toFixed(1)} s (at most ${this.#limitMs / 1000} s are expected)`
      : undefined;
  }
}
