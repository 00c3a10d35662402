/**
 * One writer for each journal: its entries are a sequence. A name in the abstract namespace (unix(7)) can be bound
 * once, and goes with its process, however that ends; as for keepers (targets/qemu/keeper-lock.ts).
 */
import { createHash } from "node:crypto";
import { realpath } from "node:fs/promises";
import { createServer } from "node:net";
import { resolve } from "node:path";

/** Raised where another process writes the same journal. Exit code 3. */
export class JournalBusyError extends Error {
  override readonly name = "JournalBusyError";
}

/** `sun_path` has 108 bytes: a name that fills it is the same for every libuv. */
const NAME_LENGTH = 107;

/** @returns gives it back. @throws {JournalBusyError} where another process has it. */
export async function lockJournal(directory: string): Promise<() => Promise<void>> {
  const absolute = resolve(directory);
  const real = await realpath(absolute).catch(() => absolute);
  const name = `kdump-hotplug-journal-${createHash("sha256").update(real).digest("hex")}`;
  const server = createServer((socket) => socket.destroy());
  server.unref();
  try {
    await new Promise<void>((done, reject) => {
      server.once("error", reject);
      server.listen({ path: `\0${name.padEnd(NAME_LENGTH, "-")}` }, done);
    });
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EADDRINUSE")) throw error;
    throw new JournalBusyError(
      `Another kdump-hotplug writes the journal in "${directory}": give another directory, or end that process`,
    );
  }
  return async () => await new Promise<void>((done) => server.close(() => done()));
}
