/** `keep TARGET` of one guest: until Ctrl-C, or until the guest has ended. */
import { Keeper } from "../keeper/keeper.ts";
import { inTurns, Kept } from "../keeper/service/kept.ts";
import { watch } from "../keeper/watch.ts";
import { OUTSIDE_INSTALLS } from "../report/watch.ts";
import { nodeSha256 } from "../targets/sha256.ts";
import type { Context } from "./context.ts";
import { openControl } from "./control.ts";
import { eventPrinter, type KeepOptions } from "./keep-local.ts";
import { withMachine } from "./machine.ts";
import { hintsOf } from "./options.ts";

/** Returns when it was interrupted. @throws what says that the guest was lost. */
export async function keepForeground(context: Context, target: string, options: KeepOptions): Promise<void> {
  await withMachine(context, target, "change", options, async (machine) => {
    const kept = new Kept(machine);
    await using _ = await openControl(context, {
      targets: () => [{ target, state: "watched" }],
      kept: (name) => (name === target ? kept : undefined),
    });
    const keeper = inTurns(kept, new Keeper(kept, nodeSha256, hintsOf(options)));
    const onEvent = eventPrinter(context, target, options, OUTSIDE_INSTALLS);
    await watch(machine, keeper, { onEvent, signal: context.signal });
  });
}
