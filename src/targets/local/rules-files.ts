/** Rule directories and files of this machine, or of another one's file system below a root. */
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, join, posix } from "node:path";
import type { CrashHotplug } from "../../rules/device.ts";
import { RulesError } from "../../rules/error.ts";
import {
  decodeRules,
  isRuleFileName,
  type RuleDirectoryEntry,
  type RuleSource,
  selectRuleFiles,
} from "../../rules/source.ts";
import { isNotThere, resolveBelow } from "./below-root.ts";

/** More than any file of rules; the largest of systemd's has 10 KiB. */
const LARGEST_FILE = 16 * 1024 ** 2;

/**
 * Reads what udev would read from `directories`, in its order; directories that do not exist are empty.
 *
 * @param directories - highest priority first, as udev names them.
 * @param root - what is put before them: links below it are followed within it, as in a chroot.
 * @throws {RulesError} naming the file that is no text, too large, or no file.
 */
export async function readRuleDirectories(
  directories: readonly string[],
  root = "/",
): Promise<readonly RuleSource[]> {
  const listed: RuleDirectoryEntry[][] = [];
  for (const directory of directories) listed.push(await listDirectory(directory, root));
  const sources: RuleSource[] = [];
  for (const { path } of selectRuleFiles(listed))
    sources.push(await readSource(path, await follow(path, root)));
  return sources;
}

/**
 * Reads the files that were named, sorted by name as udev would.
 *
 * @throws {RulesError} as {@link readRuleDirectories}, and where there is no such file.
 */
export async function readNamedRules(paths: readonly string[]): Promise<readonly RuleSource[]> {
  const sorted = [...paths].sort((a, b) =>
    basename(a) < basename(b) ? -1 : Number(basename(a) > basename(b)),
  );
  const sources: RuleSource[] = [];
  for (const path of sorted) {
    if (await isMissing(path)) throw new RulesError("read rules", path, "does not exist");
    sources.push(await readSource(path, path));
  }
  return sources;
}

/** What this machine's kernel says in crash_hotplug of memory. */
export async function readCrashHotplug(root = "/"): Promise<CrashHotplug> {
  try {
    const text = await readFile(join(root, "sys/devices/system/memory/crash_hotplug"), "utf8");
    return text.trim() === "1" ? "1" : "0";
  } catch (error) {
    if (isNotThere(error)) return "absent";
    throw error;
  }
}

/** Where `path` is below `root`. @throws {RulesError} where links lead round in a circle. */
export async function follow(path: string, root: string): Promise<string> {
  return await resolveBelow(path, root, (reason) => new RulesError("read rules", path, reason));
}

/**
 * The files of rules in one directory; none where there is no such directory.
 *
 * @param refuse - told of what cannot be looked at, which is then left out; without it the whole directory is refused.
 */
export async function listDirectory(
  directory: string,
  root: string,
  refuse?: (error: unknown, path: string) => void,
): Promise<RuleDirectoryEntry[]> {
  const real = await follow(directory, root);
  let names: string[];
  try {
    names = await readdir(real);
  } catch (error) {
    if (isNotThere(error)) return [];
    throw error;
  }
  const entries: RuleDirectoryEntry[] = [];
  for (const name of names) {
    if (!isRuleFileName(name)) continue;
    const path = posix.join(directory, name);
    try {
      const masks = await isMask(await follow(path, root));
      // A link that leads nowhere takes no name: udev's listing leaves it out.
      if (masks !== undefined) entries.push({ name, path, masks });
    } catch (error) {
      if (!refuse) throw error;
      refuse(error, path);
    }
  }
  return entries;
}

/** Whether `path` is empty or /dev/null; undefined where there is nothing. */
async function isMask(path: string): Promise<boolean | undefined> {
  if (path === "/dev/null") return true;
  try {
    const found = await stat(path);
    return found.isCharacterDevice() || (found.isFile() && found.size === 0);
  } catch (error) {
    if (isNotThere(error)) return undefined;
    throw error;
  }
}

async function isMissing(path: string): Promise<boolean> {
  return (await isMask(path)) === undefined;
}

/** @param shown - the path to report; `real` is where it is. */
export async function readSource(shown: string, real: string): Promise<RuleSource> {
  // Looked at before it is opened: opening a pipe waits for somebody who writes.
  const entry = await stat(real);
  if (entry.isCharacterDevice()) return { path: shown, text: "" };
  if (!entry.isFile()) throw new RulesError("read rules", shown, "is no regular file");
  if (entry.size > LARGEST_FILE)
    throw new RulesError("read rules", shown, `has ${entry.size} bytes, more than any file of rules`);
  return decodeRules(shown, await readFile(real));
}
