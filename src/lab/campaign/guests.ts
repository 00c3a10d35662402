/** Guests that are ready for a trial: taken up from a saved one, or booted afresh. */
import { statfsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type GuestOptions,
  type LabGuest,
  makeLabDirectory,
  removeAbandonedDirectories,
  type SavedState,
} from "../guest.ts";
import { bootPatiently, type LabParts } from "../scenario.ts";
import { copyRam, restoreGuest, saveGuest } from "../saved-guest.ts";
import { prepareGuest, type ReadyFacts, type ReadyOptions } from "./prepare.ts";

/** RAM files of a gigabyte belong into memory; where there is no room (a container has 64 MiB), the disk does. */
const RAM_DIRECTORY = "/dev/shm";
/** A saved guest and two more take 0.4 to 2 GiB each, as much as was added and written to. */
const RAM_ROOM = 4 * 2 ** 30;
const MACHINE = { crashkernelMiB: 256, ram: "shared" } as const;
const RAM_MIB = 1024;
/** Node, and its copy in the initramfs, need some more. */
const RAM_MIB_INSIDE = 1536;

/** What every guest of a campaign is started with. */
export interface GuestsOptions {
  readonly parts: LabParts;
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** A guest ready for one trial. Dispose of it: then QEMU and RAM file are gone. */
export interface ReadyGuest extends AsyncDisposable {
  readonly guest: LabGuest;
  readonly facts: ReadyFacts;
  /** Its RAM; there until it is disposed of, also when QEMU has ended. */
  readonly ramFile: string;
}

/** One ready guest, saved, from which trials start. Dispose of it when none will any more. */
export class SavedGuest implements AsyncDisposable {
  readonly facts: ReadyFacts;
  readonly #directory: string;
  readonly #state: SavedState;
  readonly #machine: GuestOptions;

  private constructor(facts: ReadyFacts, directory: string, state: SavedState, machine: GuestOptions) {
    this.facts = facts;
    this.#directory = directory;
    this.#state = state;
    this.#machine = machine;
  }

  /** Boots a guest, makes it ready and saves it. */
  static async make(options: GuestsOptions, ready: ReadyOptions): Promise<SavedGuest> {
    const { directory, machine } = await ramDirectory(options, ready);
    try {
      const { guest, facts } = await bootReady(options, ready, machine);
      await using booted = guest;
      return new SavedGuest(facts, directory, await saveGuest(booted, join(directory, "state")), machine);
    } catch (error) {
      await rm(directory, { recursive: true, force: true });
      throw error;
    }
  }

  /** The same guest once more, with a RAM file of its own. */
  async restore(signal: AbortSignal | undefined): Promise<ReadyGuest> {
    const directory = await makeLabDirectory(ramParent());
    const ramFile = join(directory, "ram");
    try {
      await copyRam(this.#machine.ramFile!, ramFile);
      const guest = await restoreGuest({ ...this.#machine, ramFile, signal }, this.#state);
      return readyGuest(guest, this.facts, directory, ramFile);
    } catch (error) {
      await rm(directory, { recursive: true, force: true });
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** Boots a guest for one trial. */
export async function bootFresh(options: GuestsOptions, ready: ReadyOptions): Promise<ReadyGuest> {
  const { directory, machine } = await ramDirectory(options, ready);
  try {
    const { guest, facts } = await bootReady(options, ready, machine);
    return readyGuest(guest, facts, directory, machine.ramFile);
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
}

async function bootReady(
  options: GuestsOptions,
  ready: ReadyOptions,
  machine: GuestOptions,
): Promise<{ readonly guest: LabGuest; readonly facts: ReadyFacts }> {
  const { guest } = await bootPatiently(options.parts, machine, options);
  try {
    return { guest, facts: await prepareGuest(guest, ready) };
  } catch (error) {
    options.log(`The guest's console said at last:\n${await guest.consoleTail()}`);
    await guest[Symbol.asyncDispose]();
    throw error;
  }
}

async function ramDirectory(
  { parts, signal }: GuestsOptions,
  { way }: ReadyOptions,
): Promise<{
  readonly directory: string;
  readonly machine: GuestOptions & { readonly ramFile: string };
}> {
  const parent = ramParent();
  await removeAbandonedDirectories(parent);
  const directory = await makeLabDirectory(parent);
  return {
    directory,
    machine: {
      ...parts,
      ...MACHINE,
      ramMiB: way.isInside ? RAM_MIB_INSIDE : RAM_MIB,
      ramFile: join(directory, "ram"),
      signal,
    },
  };
}

/** Who says TMPDIR means it. */
function ramParent(): string {
  return process.env["TMPDIR"] === undefined && hasRoom(RAM_DIRECTORY) ? RAM_DIRECTORY : tmpdir();
}

function hasRoom(directory: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(directory);
    return bavail * bsize >= RAM_ROOM;
  } catch {
    return false;
  }
}

function readyGuest(guest: LabGuest, facts: ReadyFacts, directory: string, ramFile: string): ReadyGuest {
  return {
    guest,
    facts,
    ramFile,
    [Symbol.asyncDispose]: async () => {
      await guest[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
