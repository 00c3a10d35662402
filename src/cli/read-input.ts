/** Reads a file that was named on the command line. */
import { readFile } from "node:fs/promises";
import { codeOf } from "../targets/qemu/unix-socket.ts";
import { UsageError } from "./exit.ts";

/** What Node's errors of files say in other words than a user's. */
const WORDS: Readonly<Record<string, string>> = {
  ENOENT: "it is not there",
  ENOTDIR: "it is not there",
  EISDIR: "it is a directory",
  EACCES: "this user may not read it",
};

/**
 * The text of the file at `path`.
 *
 * @param wanted what was expected there, after "give".
 * @throws {UsageError} which says so where it cannot be read.
 */
export async function readInput(path: string, wanted: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    const words = WORDS[codeOf(error)];
    if (words === undefined) throw error;
    throw new UsageError(`Cannot read ${path}: ${words}; give ${wanted}`, { cause: error });
  }
}
