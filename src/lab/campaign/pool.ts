/** Work done some at a time, until it is all done, the time is up, or something goes wrong. */

/** How a pool works. */
export interface PoolOptions<T> {
  /** How many at a time. */
  readonly jobs: number;
  /** Nothing is begun later than this, on the clock of `now`. */
  readonly deadline: number;
  /** Milliseconds; `performance.now` unless told. */
  readonly now?: () => number;
  readonly signal?: AbortSignal | undefined;
  readonly run: (item: T) => Promise<void>;
}

/**
 * Runs every item, in their order. What is under way when one fails comes to its end; nothing is begun after that.
 *
 * @returns how many were run; fewer than all where the time was up.
 * @throws the signal's reason where it aborted, once nothing is under way any more; else what failed first.
 */
export async function runPool<T>(items: readonly T[], options: PoolOptions<T>): Promise<number> {
  const { jobs, deadline, signal, run, now = () => performance.now() } = options;
  let [next, done] = [0, 0];
  let failure: { readonly error: unknown } | undefined;
  const isOver = (): boolean => now() >= deadline || failure !== undefined || signal?.aborted === true;
  const worker = async (): Promise<void> => {
    while (next < items.length && !isOver()) {
      try {
        await run(items[next++]!);
        done++;
      } catch (error) {
        failure ??= { error };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(jobs, items.length) }, worker));
  signal?.throwIfAborted();
  if (failure) throw failure.error;
  return done;
}

/**
 * Begins `work` anew where it fails with what `isLoss` calls a loss, up to `times` in all.
 *
 * @param work is told how many times it failed before.
 * @param onLoss told of each loss after which it is begun anew.
 */
export async function retried<T>(
  times: number,
  isLoss: (error: unknown) => boolean,
  onLoss: (error: unknown) => void,
  work: (lost: number) => Promise<T>,
): Promise<T> {
  for (let lost = 0; ; lost++) {
    try {
      return await work(lost);
    } catch (error) {
      if (lost + 1 >= times || !isLoss(error)) throw error;
      onLoss(error);
    }
  }
}
