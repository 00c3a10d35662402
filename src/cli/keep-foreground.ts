/** `keep TARGET` of one guest: until Ctrl-C, or until the guest has ended. */
import { Keeper } from "../keeper/keeper.ts";
import { inTurns, Kept } from "../keeper/service/kept.ts";
import type { TargetEvent } from "../keeper/service-event.ts";
import type { WatchEvent } from "../keeper/watch.ts";
import { OUTSIDE_INSTALLS } from "../report/watch.ts";
import { nodeSha256 } from "../targets/sha256.ts";
import { withChangedMachine } from "./changed-machine.ts";
import type { Context } from "./context.ts";
import { openControl } from "./control.ts";
import type { KeepOptions } from "./keep-local.ts";
import { hintsOf } from "./options.ts";
import { eventPrinter, watchUntilInterrupted } from "./watching.ts";

/** Returns when it was interrupted. @throws what says that the guest was lost. */
export async function keepForeground(context: Context, target: string, options: KeepOptions): Promise<void> {
  await withChangedMachine(context, target, options, async (machine, { journal, log }) => {
    const kept = new Kept(machine);
    await using _ = await openControl(
      { ...context, journal },
      {
        targets: () => [{ target, state: "watched" }],
        kept: (name) => (name === target ? kept : undefined),
      },
    );
    const keeper = inTurns(kept, new Keeper(kept, nodeSha256, hintsOf(options), log));
    const print = eventPrinter(context, target, options, OUTSIDE_INSTALLS);
    const tell = (event: TargetEvent): void => journal?.onEvent({ target, at: Date.now(), event });
    const onEvent = (event: WatchEvent): void => {
      tell(event);
      print(event);
    };
    tell({ kind: "found" });
    await watchUntilInterrupted(machine, keeper, { onEvent, signal: context.signal });
  });
}
