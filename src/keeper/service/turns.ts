/** One at a time, in the order of asking: looks of a keeper, and commands that came from elsewhere. */

/** A queue for one thing that two must not use together. */
export class Turns {
  #last: Promise<void> = Promise.resolve();

  /**
   * Waits for a turn.
   *
   * @param signal ends the waiting, with its reason.
   * @returns ends the turn; it may be ended twice.
   */
  async take(signal?: AbortSignal): Promise<Disposable> {
    signal?.throwIfAborted();
    const before = this.#last;
    const { promise, resolve: end } = withResolvers<void>();
    this.#last = promise;
    try {
      await unlessAborted(before, signal);
    } catch (error) {
      // Whoever comes next still waits for the one before.
      void before.then(end);
      throw error;
    }
    return { [Symbol.dispose]: end };
  }

  /** Runs `work` in a turn of its own. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    using _ = await this.take();
    return await work();
  }
}

/** What `work` comes to, unless `signal` is aborted first. @throws the signal's reason then. */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await work;
  const { promise: aborted, resolve } = withResolvers<undefined>();
  const onAbort = (): void => resolve(undefined);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    const first = await Promise.race([work.then((value) => ({ value })), aborted]);
    if (first !== undefined) return first.value;
    signal.throwIfAborted();
    return await work;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** `Promise.withResolvers`, which Node 20 has not. */
function withResolvers<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  const resolvers: ((value: T) => void)[] = [];
  const promise = new Promise<T>((resolve) => resolvers.push(resolve));
  return { promise, resolve: (value) => resolvers[0]!(value) };
}
