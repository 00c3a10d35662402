/** What `keep` of one machine does from inside as from outside: watches until Ctrl-C, and prints what happens. */
import { watch, type WatchEvent } from "../keeper/watch.ts";
import { type InstallReporter, watchJson, watchText } from "../report/watch.ts";
import type { Context } from "./context.ts";
import { isLeftHalfDone, mainError } from "./exit.ts";

/**
 * As `watch`, whose end Ctrl-C is meant to be: a look that was under way then, and left nothing half done, is not worth a
 * word.
 */
export async function watchUntilInterrupted<I>(...args: Parameters<typeof watch<I>>): Promise<void> {
  try {
    await watch(...args);
  } catch (error) {
    const [, , { signal }] = args;
    if (!signal.aborted || isLeftHalfDone(mainError(error))) throw error;
  }
}

/** Prints each event as it happens. */
export function eventPrinter<I>(
  context: Context,
  target: string,
  { json }: { readonly json?: true },
  reporter: InstallReporter<I>,
): (event: WatchEvent<I>) => void {
  return (event) => {
    const at = new Date().toISOString();
    context.print(
      json
        ? `${JSON.stringify(watchJson(target, at, event, reporter))}\n`
        : watchText(target, at, event, reporter),
    );
  };
}
