/**
 * A guest that is saved once and taken up again as often as is wanted: its RAM stays in a file that each copy has of
 * its own, QEMU writes down only the rest (capability `x-ignore-shared`; 0.3 MiB, 0.02 s on TCG).
 *
 * What is taken up again is the very same guest, its KASLR layout included.
 */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { setTimeout as delay } from "node:timers/promises";
import * as v from "valibot";
import { QmpClient } from "../targets/qemu/qmp.ts";
import { queryStatus } from "../targets/qemu/replies.ts";
import { LostGuestError } from "./errors.ts";
import { type GuestOptions, LabGuest, type SavedState } from "./guest.ts";
import { quoted } from "./shell.ts";

/** Both take some hundredths of a second. */
const MIGRATION_TIMEOUT_MS = 30_000;
const LOOK_MS = 5;

/** Stops `guest` and writes its state to `file`; its RAM must be in a file that is shared. It does not go on. */
export async function saveGuest(guest: LabGuest, file: string): Promise<SavedState> {
  await using qmp = await QmpClient.connect(guest.labQmpPath);
  await ignoreShared(qmp);
  await qmp.execute("stop");
  // Not `file:`, which QEMU has only since 8.2; `exec:` is a line of shell.
  await qmp.execute("migrate", { uri: `exec:cat > ${quoted(file)}` });
  await until("saved", async () => {
    const { status } = v.parse(v.object({ status: v.string() }), await qmp.execute("query-migrate"));
    if (status === "failed" || status === "cancelled")
      throw new LostGuestError(`QEMU could not save the guest to ${file}: its migration is ${status}`);
    return status === "completed";
  });
  return { file, release: guest.release };
}

/**
 * Takes up a saved guest: it runs, and its shell answers.
 *
 * @param options those that it was booted with, with a `ramFile` of its own: {@link copyRam}.
 */
export async function restoreGuest(options: GuestOptions, saved: SavedState): Promise<LabGuest> {
  const guest = await LabGuest.receive(options, saved);
  try {
    await using qmp = await QmpClient.connect(guest.labQmpPath);
    await ignoreShared(qmp);
    await qmp.execute("migrate-incoming", { uri: `exec:cat ${quoted(saved.file)}` });
    await until("taken up", async () => (await queryStatus(qmp)).status === "paused");
    await qmp.execute("cont");
    await guest.agent.output(":", MIGRATION_TIMEOUT_MS);
    return guest;
  } catch (error) {
    await guest[Symbol.asyncDispose]();
    throw error;
  }
}

/** Copies a RAM file without its holes. */
export async function copyRam(from: string, to: string): Promise<void> {
  await promisify(execFile)("cp", ["--sparse=always", "--", from, to]);
}

async function ignoreShared(qmp: QmpClient): Promise<void> {
  await qmp.execute("migrate-set-capabilities", {
    capabilities: [{ capability: "x-ignore-shared", state: true }],
  });
}

async function until(what: string, isDone: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + MIGRATION_TIMEOUT_MS;
  while (!(await isDone())) {
    if (performance.now() > deadline)
      throw new LostGuestError(`The guest was not ${what} within ${MIGRATION_TIMEOUT_MS / 1000} s`);
    await delay(LOOK_MS);
  }
}
