/** How often a service looks at each of its machines, so that all together they take a small share of one processor. */

/** What is looked at without a reason, at most this often, ms. */
const LOOK_EVERY_MS = 5000;
/** The whole image is hashed without a reason at most this often, ms. */
const VERIFY_EVERY_MS = 600_000;
/** So long after a change, ms, the image is hashed where nothing forbids it. */
const VERIFY_AFTER_MS = 250;
/** Hashes after changes may take a fifteenth of the time, all machines together: installs have waited for them. */
const VERIFY_SHARE = 15;
/** Looks without a reason may take this share of the time, all machines together. */
const LOOK_SHARE = 50;
/** Questions a second, all together: one takes some 0.05 ms of ours. */
const POLLS_PER_SECOND = 500;
/** Questions a second to machines at which something happens. */
const ACTIVE_POLLS_PER_SECOND = 4000;
/** Slower than that nobody is asked, ms. */
const SLOWEST_POLL_MS = 2000;
/** What comes comes in series: so long after a change another one is likely, ms. */
const ACTIVE_MS = 60_000;

const GOLDEN_RATIO = (Math.sqrt(5) - 1) / 2;

/** Shared by all targets of a service. */
export class Pace {
  /** May be changed at any time. */
  lookEveryMs: number;
  readonly #now: () => number;
  readonly #changedAt = new Map<object, number>();
  #watched = 0;
  #active = 0;
  #countedAt = -Infinity;
  /** What a hash takes, ms: the latest count most. */
  #hashMs = 0;
  #spread = 0;

  /** @param now milliseconds, monotonic. */
  constructor(now: () => number, lookEveryMs: number = LOOK_EVERY_MS) {
    this.#now = now;
    this.lookEveryMs = lookEveryMs;
  }

  readonly verifyEveryMs: number = VERIFY_EVERY_MS;

  /** As {@link WatchOptions.lookShare}. */
  get lookShare(): number {
    return LOOK_SHARE * Math.max(1, this.#watched);
  }

  /** As {@link WatchOptions.verifyAfterMs}: where much changes at many, their hashes wait and the installs do not. */
  get verifyAfterMs(): number {
    this.#count();
    // Machines that change together would be hashed together, and what changes meanwhile would wait: half as long for
    // one, half as long again for another (multiples of the golden ratio lie far from each other).
    this.#spread = (this.#spread + GOLDEN_RATIO) % 1;
    const others = this.#active - 1;
    return Math.max(VERIFY_AFTER_MS, VERIFY_SHARE * others * this.#hashMs * (0.5 + this.#spread));
  }

  /** A hash took `ms`. */
  hashed(ms: number): void {
    this.#hashMs += (ms - this.#hashMs) / 8;
  }

  /** One more machine is watched. @returns ends that. */
  enter(machine: object): Disposable {
    this.#watched++;
    let entered = true;
    return {
      [Symbol.dispose]: () => {
        if (!entered) return;
        entered = false;
        this.#watched--;
        this.#changedAt.delete(machine);
      },
    };
  }

  /** Something changed at `machine`: more may come soon. */
  changed(machine: object): void {
    const isNew = !this.#changedAt.has(machine);
    this.#changedAt.set(machine, this.#now());
    if (isNew) this.#active++;
  }

  /** Milliseconds until `machine` is asked again for what it has no event for; its own side may ask less often. */
  pollEveryMs(machine: object): number {
    this.#count();
    const isActive = this.#now() - (this.#changedAt.get(machine) ?? -Infinity) < ACTIVE_MS;
    const asked = isActive ? this.#active / ACTIVE_POLLS_PER_SECOND : this.#watched / POLLS_PER_SECOND;
    return Math.min(SLOWEST_POLL_MS, 1000 * asked);
  }

  /** Once a second is often enough. */
  #count(): void {
    const now = this.#now();
    if (now - this.#countedAt < 1000) return;
    this.#countedAt = now;
    for (const [machine, at] of this.#changedAt) if (now - at >= ACTIVE_MS) this.#changedAt.delete(machine);
    this.#active = this.#changedAt.size;
  }
}
