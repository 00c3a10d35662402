/** Another loader may hold the kexec lock: it is waited for, but not for ever. */
import { setTimeout as delay } from "node:timers/promises";
import { KexecError } from "./kexec-error.ts";

/** How long to wait. */
export interface RetryOptions {
  /** Milliseconds after which it is given up. Default 10,000: the slowest load that was measured took 3 s. */
  readonly limitMs?: number;
  /**
   * Run right before each attempt: whoever held the lock may have loaded another image, so that what was prepared is
   * not to be loaded any more. What it throws ends it.
   */
  readonly check?: () => Promise<void> | void;
  readonly signal?: AbortSignal;
  /** Milliseconds, monotonic; for tests. */
  readonly now?: () => number;
}

const LIMIT_MS = 10_000;
/** A hotplug handler holds it for up to 50 ms, a loader for a second. */
const FIRST_PAUSE_MS = 2;
const LONGEST_PAUSE_MS = 50;

/** Runs `attempt` until it is not told EBUSY. @throws {KexecError} the last EBUSY, after the limit; any other at once. */
export async function retryWhileBusy<T>(attempt: () => T, options: RetryOptions = {}): Promise<T> {
  const { limitMs = LIMIT_MS, check, signal, now = () => performance.now() } = options;
  const deadline = now() + limitMs;
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
    signal?.throwIfAborted();
    await check?.();
    try {
      return attempt();
    } catch (error) {
      if (!(error instanceof KexecError) || !error.isBusy || now() + pause > deadline) throw error;
    }
    await delay(pause);
  }
}
