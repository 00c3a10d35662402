/**
 * Programs in virtual time, as generators that yield what they wait for.
 *
 * A killed program ends where it waits, and its `finally` blocks run: that is where the kernel would close its files
 * and so give up its file locks.
 */
import type { Cancel, VirtualClock } from "./clock.ts";

/**
 * What a program waits for: it is told how to go on, and gives back how to wait no more; or nothing, where there is
 * nothing to wait for and the program goes on at once.
 */
export type Wait = (resume: () => void) => Cancel | undefined;

/** A program. Its value is its exit status. */
export type Program<T = void> = Generator<Wait, T | Killed, void>;

/** What a program that was killed ends with; nobody waits for it. */
export type Killed = "killed";

/** A program that runs. */
export interface Process {
  /** Ends it where it waits (SIGKILL). Does nothing where it has ended. */
  readonly kill: () => void;
}

/** Starts `program`, which runs until its first wait at once. `ended` is told when it has come to its own end. */
export function spawn<T>(program: Program<T>, ended: (value: T | Killed) => void = () => undefined): Process {
  let cancel: Cancel | undefined;
  const step = (): void => {
    for (cancel = undefined; cancel === undefined;) {
      const next = program.next();
      if (next.done) return ended(next.value);
      cancel = next.value(step);
    }
  };
  step();
  return {
    kill: () => {
      cancel?.();
      cancel = undefined;
      // Its `finally` blocks only give things up, they wait for nothing.
      program.return("killed");
    },
  };
}

/** Waits `ms`. */
export function sleep(clock: VirtualClock, ms: number): Wait {
  return (resume) => (ms === 0 ? undefined : clock.after(ms, resume));
}
