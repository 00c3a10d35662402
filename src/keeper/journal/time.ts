/** Milliseconds, and waits with an end. */

/** Microseconds are enough. */
export const rounded = (ms: number): number => Math.round(ms * 1000) / 1000;

/** Whether `promise` comes to `true` within `ms`. */
export async function within(promise: Promise<boolean>, ms: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<boolean>((resolve) => (timer = setTimeout(() => resolve(false), ms)));
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
