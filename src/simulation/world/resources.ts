/** What programs wait for each other at: a server that does one thing at a time, and file locks. */
import type { Cancel, VirtualClock } from "./clock.ts";
import type { Wait } from "./process.ts";

/** Serves one request after the other, in order of arrival: PID 1 at its bus, or the kernel behind a mutex. */
export class SerialServer {
  readonly #clock: VirtualClock;
  /** When everything that was asked for so far is done. */
  #free = 0;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  /** Waits until a request that takes `ms` has been served. Who is killed meanwhile has been served all the same. */
  serve(ms: number): Wait {
    return (resume) => {
      const { now } = this.#clock;
      this.#free = Math.max(this.#free, now) + ms;
      return this.#free === now ? undefined : this.#clock.after(this.#free - now, resume);
    };
  }
}

interface Waiter {
  readonly resume: () => void;
  /** Takes back that it goes on; undefined until the lock is its. */
  granted: Cancel | undefined;
}

/** A lock on a file (flock) or in the kernel; who waits gets it in order of arrival. */
export class Lock {
  readonly #clock: VirtualClock;
  readonly #waiting: Waiter[] = [];
  #held = false;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  get held(): boolean {
    return this.#held;
  }

  /** `flock -n`: takes it if it is free. */
  tryTake(): boolean {
    if (this.#held) return false;
    this.#held = true;
    return true;
  }

  /** Waits until it is taken. Who is killed while the lock is on its way to it does not keep it. */
  take(): Wait {
    return (resume) => {
      if (this.tryTake()) return undefined;
      const waiter: Waiter = { resume, granted: undefined };
      this.#waiting.push(waiter);
      return () => {
        if (waiter.granted) {
          waiter.granted();
          this.release();
        } else this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
      };
    };
  }

  /** Gives it up; the next who waits has it at once. */
  release(): void {
    const next = this.#waiting.shift();
    if (next) this.#grant(next);
    else this.#held = false;
  }

  #grant(waiter: Waiter): void {
    waiter.granted = this.#clock.after(0, waiter.resume);
  }
}
