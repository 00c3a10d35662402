/** Opens the machine of a TARGET for a command that changes it, with the journal that is wanted. */
import type { InstallLog } from "../keeper/install-log.ts";
import type { Journal } from "../keeper/journal/journal.ts";
import type { Context } from "./context.ts";
import { recover, withJournal } from "./journaled.ts";
import { type OpenMachine, withMachine } from "./machine.ts";
import type { ReachOptions } from "./options.ts";

/** What such a command is told. */
export interface ChangeOptions extends ReachOptions {
  /** Directory of the journal. */
  readonly journal?: string;
}

/** Where what is done is put down. */
export interface Journaled {
  readonly journal: Journal | undefined;
  /** For the keeper of this target. */
  readonly log: InstallLog | undefined;
}

/** Runs `work` on the machine that `target` names, once what a keeper before us left half done there is finished. */
export async function withChangedMachine<T>(
  context: Context,
  target: string,
  options: ChangeOptions,
  work: (machine: OpenMachine, journaled: Journaled) => Promise<T>,
): Promise<T> {
  return await withJournal(context, options.journal, async (journal) =>
    withMachine(context, target, "change", options, async (machine) => {
      await recover(context, target, machine, journal);
      return await work(machine, { journal, log: journal?.installLog(target) });
    }),
  );
}
