/** What the journal asks of the file system. */
import { constants } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";

/** The name of the file that is `age` rotations old; 0 is the one that is written. */
export function journalFileName(age: number): string {
  return age === 0 ? "journal.jsonl" : `journal.${age}.jsonl`;
}

/** Makes each file one rotation older; the oldest of `files` goes. */
export async function renameByAge(directory: string, files: number): Promise<void> {
  const name = (age: number): string => join(directory, journalFileName(age));
  await rm(name(files - 1), { force: true });
  for (let age = files - 2; age >= 0; age--) {
    await rename(name(age), name(age + 1)).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
    });
  }
}

/** Tells one file from another while both exist. */
export const identityOf = ({ dev, ino }: { readonly dev: number; readonly ino: number }): string =>
  `${dev} ${ino}`;

/** Bytes behind the last newline. */
export async function tornBytes(handle: FileHandle, size: number): Promise<number> {
  const chunk = Buffer.alloc(64 * 1024);
  for (let end = size; end > 0;) {
    const start = Math.max(0, end - chunk.length);
    const { bytesRead } = await handle.read(chunk, 0, end - start, start);
    const at = chunk.subarray(0, bytesRead).lastIndexOf(0x0a);
    if (at !== -1) return size - (start + at + 1);
    if (bytesRead === 0) break;
    end = start;
  }
  return size;
}

/** A new name is there after a crash only where its directory was synced too. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
export const isExisting = (error: unknown): boolean => codeOf(error) === "EEXIST";
const isMissing = (error: unknown): boolean => codeOf(error) === "ENOENT";
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
