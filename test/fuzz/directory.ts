/** Directories for readers that need one. A thread that is ended from outside cannot remove its own. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PREFIX = `kdh-fuzz-${process.pid}-`;

/** A new directory, gone when this process or thread ends of its own accord. */
export function makeDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), PREFIX));
  process.once("exit", () => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Removes those of all threads of this process. */
export function removeDirectories(): void {
  for (const name of readdirSync(tmpdir()))
    if (name.startsWith(PREFIX)) rmSync(join(tmpdir(), name), { recursive: true, force: true });
}
