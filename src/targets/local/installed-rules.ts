/** All rules that are installed, as far as they can be read: one bad file must not hide what the others do. */
import { realpath } from "node:fs/promises";
import type { HiddenRules } from "../../rules/own-rule.ts";
import { RulesError } from "../../rules/error.ts";
import { type RuleDirectoryEntry, type RuleSource, selectRuleFiles } from "../../rules/source.ts";
import { codeOf } from "../qemu/unix-socket.ts";
import { follow, listDirectory, readSource } from "./rules-files.ts";

/** What udev has to read. */
export interface InstalledRules {
  /** In udev's order. */
  readonly sources: readonly RuleSource[];
  /** Files whose name is taken by another one. */
  readonly hidden: readonly HiddenRules[];
  /** Files and directories that could not be read, and why; sentences without a full stop. */
  readonly unread: readonly string[];
}

/**
 * Reads what udev would read from `directories`; directories that do not exist are empty.
 *
 * @param directories - highest priority first, as udev names them.
 * @param root - what is put before them.
 */
export async function readInstalledRules(
  directories: readonly string[],
  root: string,
): Promise<InstalledRules> {
  const unread: string[] = [];
  const refuse = (error: unknown, path: string): void => void unread.push(reasonOf(error, path));
  const attempt = async <T>(path: string, work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (error) {
      refuse(error, path);
      return undefined;
    }
  };
  const listed: RuleDirectoryEntry[][] = [];
  for (const directory of directories)
    listed.push((await attempt(directory, () => listDirectory(directory, root, refuse))) ?? []);
  const read = async ({ path }: RuleDirectoryEntry): Promise<RuleSource | undefined> =>
    await attempt(path, async () => await readSource(path, await follow(path, root)));
  const sources: RuleSource[] = [];
  for (const entry of selectRuleFiles(listed)) {
    const source = await read(entry);
    if (source) sources.push(source);
  }
  const hidden: HiddenRules[] = [];
  const first = new Map<string, RuleDirectoryEntry>();
  for (const entry of listed.flat()) {
    const by = first.get(entry.name);
    if (by === undefined) first.set(entry.name, entry);
    // Where /lib is a link to /usr/lib, both are the same file.
    else if (!entry.masks && !(await isSameFile(entry.path, by.path, root))) {
      const source = await read(entry);
      if (source) hidden.push({ ...source, by: by.path });
    }
  }
  return { sources, hidden, unread };
}

/** @throws what is none of a file's own faults. */
function reasonOf(error: unknown, path: string): string {
  if (error instanceof RulesError) return error.message;
  const code = codeOf(error);
  if (code === "") throw error;
  const denied = code === "EACCES" || code === "EPERM";
  return `Cannot read rules: ${path} ${denied ? "may not be read: run this as root" : `cannot be read (${code})`}`;
}

async function isSameFile(a: string, b: string, root: string): Promise<boolean> {
  try {
    return (await realpath(await follow(a, root))) === (await realpath(await follow(b, root)));
  } catch {
    return false;
  }
}
