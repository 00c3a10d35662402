/** Reads a journal's files from the oldest entry on, whatever a crash has made of some lines. */
import { createReadStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Entry } from "./entry.ts";
import { journalFileName } from "./files.ts";
import { parseEntry } from "./parse.ts";

/** One line: an entry, or what is none. */
export type JournalLine =
  { readonly entry: Entry } | { readonly unreadable: string; readonly file: string; readonly line: number };

/** A line that is longer is no entry: the largest there can be has all 65,534 program headers of two headers. */
const MAX_LINE = 64 * 1024 * 1024;

/** The journal's directory cannot be read, or has no journal in it. */
export class JournalReadError extends Error {
  override readonly name = "JournalReadError";
}

/**
 * All lines of the journal in `directory`, in the order in which they were written.
 *
 * @param newest how many files, counted from the one that is written; all unless told.
 * @throws {JournalReadError} where there is none, or it cannot be read.
 */
export async function* readJournal(
  directory: string,
  newest: number = Number.POSITIVE_INFINITY,
): AsyncGenerator<JournalLine> {
  for (const file of (await journalFiles(directory)).slice(-newest)) {
    let line = 0;
    for await (const text of linesOf(file)) {
      line++;
      if (text === undefined) {
        yield { unreadable: `it is longer than ${MAX_LINE} bytes`, file, line };
        continue;
      }
      if (text === "") continue;
      const parsed = parseEntry(text);
      yield "unreadable" in parsed ? { ...parsed, file, line } : { entry: parsed };
    }
  }
}

/** Why a directory cannot be read, and what to do. */
function whyNot(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "ENOENT" || code === "ENOTDIR")
    return `there is no such directory (${code}); keep writes a journal where it is started with --journal DIR: give that one with --directory`;
  if (code === "EACCES" || code === "EPERM")
    return `this user may not (${code}); run this as root, or as the user that keep runs as`;
  return error instanceof Error ? error.message : String(error);
}

/** The journal's files, the oldest first. */
async function journalFiles(directory: string): Promise<readonly string[]> {
  let names: readonly string[];
  try {
    names = await readdir(directory);
  } catch (error) {
    throw new JournalReadError(`Cannot read the journal's directory "${directory}": ${whyNot(error)}`, {
      cause: error,
    });
  }
  const aged = names.flatMap((name) => {
    const age = /^journal(?:\.(\d{1,4}))?\.jsonl$/.exec(name);
    return age ? [{ name, age: Number(age[1] ?? 0) }] : [];
  });
  if (aged.length === 0)
    throw new JournalReadError(
      `No journal in "${directory}": expected "${journalFileName(0)}"; give the directory that keep was started with`,
    );
  return aged.sort((a, b) => b.age - a.age).map(({ name }) => join(directory, name));
}

/** Lines without their newline, undefined for one that is too long. Node's readline would also cut at U+2028. */
async function* linesOf(file: string): AsyncGenerator<string | undefined> {
  let parts: Buffer[] = [];
  let length = 0;
  // A device may have no end.
  if ((await stat(file).catch(() => undefined))?.isFile() === false) return;
  try {
    for await (const chunk of createReadStream(file) as AsyncIterable<Buffer>) {
      let start = 0;
      for (let end = chunk.indexOf(0x0a); end !== -1; end = chunk.indexOf(0x0a, start)) {
        parts.push(chunk.subarray(start, end));
        yield length + end - start > MAX_LINE ? undefined : Buffer.concat(parts).toString("utf8");
        parts = [];
        length = 0;
        start = end + 1;
      }
      length += chunk.length - start;
      if (length <= MAX_LINE) parts.push(chunk.subarray(start));
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new JournalReadError(`Cannot read "${file}" (${reason}): run as root`, { cause: error });
  }
  // What is being written, or was torn: its reader is told.
  if (length > 0) yield length > MAX_LINE ? undefined : Buffer.concat(parts).toString("utf8");
}
