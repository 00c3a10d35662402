/** The journal of a command that changes guests, and the watcher process that ends its pauses where it cannot. */
import { join } from "node:path";
import { Option } from "commander";
import { journalFileName } from "../keeper/journal/files.ts";
import type { Journal } from "../keeper/journal/journal.ts";
import type { JournalConfig } from "../keeper/service/config.ts";
import type { ResumableMachine } from "../keeper/machine.ts";
import { recoverFromJournal } from "../keeper/recover.ts";
import { PauseWatcher } from "../targets/qemu/pause-watcher.ts";
import { nodeSha256 } from "../targets/sha256.ts";
import type { Context } from "./context.ts";

export function journalOption(): Option {
  return new Option(
    "--journal <dir>",
    "put down there what is done, before it is done: what a killed keeper leaves is finished by the next one",
  );
}

let watcher: PauseWatcher | undefined;

/** The watcher of this process: one, whoever asks first says which journal it writes. */
export function pauseWatcher(context: Context, directory?: string): PauseWatcher | undefined {
  if (!PauseWatcher.isBuilt) return undefined;
  const journalFile = directory === undefined ? undefined : join(directory, journalFileName(0));
  return (watcher ??= new PauseWatcher({ say: context.say, journalFile }));
}

/** Runs `work` with the journal in `directory`; with that of the keeper that carries it out; else with none. */
export async function withJournal<T>(
  context: Context,
  directory: string | undefined,
  work: (journal: Journal | undefined) => Promise<T>,
): Promise<T> {
  if (context.journal || directory === undefined) return await work(context.journal);
  await using journal = await openJournalIn(context, { directory });
  return await work(journal);
}

/** Opens a journal for this process, and lets the watcher know of it. Close it. */
export async function openJournalIn(context: Context, options: JournalConfig): Promise<Journal> {
  pauseWatcher(context, options.directory);
  const { directory, maxBytes, files } = options;
  const { Journal: Opened } = await import("../keeper/journal/journal.ts");
  return await Opened.open({
    directory,
    sha256: nodeSha256,
    say: context.say,
    ...(maxBytes !== undefined && { maxBytes }),
    ...(files !== undefined && { files }),
  });
}

/** To be called when `machine` has been opened to be changed: finishes what a keeper before us has left. */
export async function recover(
  context: Context,
  target: string,
  machine: ResumableMachine,
  journal: Journal | undefined,
): Promise<void> {
  const recovered = journal && (await recoverFromJournal(machine, target, journal, nodeSha256));
  if (!recovered) return;
  const { result, reason, resumed } = recovered;
  context.say(
    `${target}: an install was left open by a keeper that ended within it: ${result} (${reason})${resumed ? "; the guest stood still for it, and runs again" : ""}`,
  );
}

/** Opens a machine to be changed, and recovers before anybody else has it; one that cannot be is closed again. */
export async function openRecovered<M extends ResumableMachine & AsyncDisposable>(
  context: Context,
  target: string,
  journal: Journal | undefined,
  open: () => Promise<M>,
): Promise<M> {
  const machine = await open();
  try {
    await recover(context, target, machine, journal);
    return machine;
  } catch (error) {
    await machine[Symbol.asyncDispose]();
    throw error;
  }
}
