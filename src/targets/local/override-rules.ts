/**
 * Lets keepers from inside live with the distribution: its rules reload kdump on each event, which undoes a re-arm and leaves
 * the machine blind. What they do to kdump is taken out of a copy of their file, which takes its place in the directory
 * that udev reads first (udev(7)): nothing else on the system is changed, and removing the copy brings the file back.
 */
import { mkdir, rename, rm, unlink, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path/posix";
import { codeOf } from "../qemu/unix-socket.ts";
import type { LocalPolicy } from "./policy.ts";
import { RootTree } from "./tree.ts";

/** The first line of every file that is written here, and of no other. */
const MARK = "# Written by kdump-hotplug keep local --install; keep local --uninstall removes it.";

/** Raised where the rules cannot be overridden, or the override not be taken away. */
export class OverrideError extends Error {
  override readonly name = "OverrideError";
}

/** A file that takes the place of the distribution's. */
export interface Override {
  readonly path: string;
  /** The distribution's. */
  readonly of: string;
  /** Lines of it that are comments now, from 1 on. */
  readonly lines: readonly number[];
  readonly text: string;
}

/**
 * What has to be written so that no rule reloads kdump any more; none where none does.
 *
 * @throws {OverrideError} where a rule stands in the directory that udev reads first: it is the administrator's own.
 */
export function planOverrides({
  directories,
  forecasts,
  sources,
}: Pick<LocalPolicy, "directories" | "forecasts" | "sources">): readonly Override[] {
  const places = new Map<string, Set<number>>();
  for (const { effect } of forecasts) {
    for (const { path, line } of effect.commands) {
      places.set(path, (places.get(path) ?? new Set()).add(line));
    }
  }
  const [first = "/etc/udev/rules.d"] = directories;
  return [...places].map(([of, lines]) => {
    if (dirname(of) === first)
      throw new OverrideError(
        `Cannot make ${of} skip kdump (line ${[...lines].join(", ")}): it is in the directory that udev reads first, so nothing can take its place; take the line out by hand`,
      );
    const source = sources.find(({ path }) => path === of);
    if (!source) throw new OverrideError(`Cannot make ${of} skip kdump: it cannot be read`);
    const { text, taken } = withoutLines(source.text, lines);
    return { path: join(first, basename(of)), of, lines: taken, text: `${head(of, taken)}${text}` };
  });
}

function head(of: string, lines: readonly number[]): string {
  return `${MARK}\n# A copy of ${of}; its line${lines.length > 1 ? "s" : ""} ${lines.join(", ")} reload${lines.length > 1 ? "" : "s"} kdump and ${lines.length > 1 ? "are comments" : "is a comment"} here.\n`;
}

/** `text` with the rules that have one of `lines` made comments, all lines of each. */
function withoutLines(
  text: string,
  lines: ReadonlySet<number>,
): { readonly text: string; readonly taken: readonly number[] } {
  const all = text.split("\n");
  const taken: number[] = [];
  for (let begin = 0; begin < all.length;) {
    let end = begin + 1;
    while (end < all.length && all[end - 1]!.endsWith("\\")) end++;
    const numbers = Array.from({ length: end - begin }, (_, i) => begin + i + 1);
    if (numbers.some((line) => lines.has(line))) {
      taken.push(...numbers);
      // A comment does not go on in the next line, whatever it ends with.
      for (let i = begin; i < end; i++) all[i] = `# ${all[i]!.replace(/\\$/, "")}`;
    }
    begin = end;
  }
  return { text: all.join("\n"), taken };
}

/** Writes `overrides`, each by one rename. @throws {OverrideError} where a file of that name is there that is not ours. */
export async function writeOverrides(
  overrides: readonly Override[],
  tree: RootTree = new RootTree(),
): Promise<void> {
  for (const { path } of overrides) {
    const found = await tree.readText(path);
    if (found !== undefined && !found.startsWith(MARK))
      throw new OverrideError(`Cannot write ${path}: there is one already that is not of our making`);
  }
  for (const { path, text } of overrides) {
    const place = await tree.locate(path);
    // Its name does not end as udev wants it, so that half a file is never read.
    const temporary = `${place}.kdump-hotplug-new`;
    try {
      await mkdir(dirname(place), { recursive: true });
      await writeFile(temporary, text, { mode: 0o644 });
      await rename(temporary, place);
    } catch (error) {
      await rm(temporary, { force: true });
      throw new OverrideError(`Cannot write ${tree.shown(path)}: ${reasonOf(error)}`, { cause: error });
    }
  }
}

/** Takes away what {@link writeOverrides} wrote in `directory`. @returns the paths of what was there. */
export async function removeOverrides(
  directory: string,
  tree: RootTree = new RootTree(),
): Promise<readonly string[]> {
  const removed: string[] = [];
  for (const name of await tree.list(directory)) {
    const path = join(directory, name);
    if (!name.endsWith(".rules") || (await tree.readText(path))?.startsWith(MARK) !== true) continue;
    try {
      await unlink(await tree.locate(path));
    } catch (error) {
      throw new OverrideError(`Cannot remove ${tree.shown(path)}: ${reasonOf(error)}`, { cause: error });
    }
    removed.push(path);
  }
  return removed;
}

function reasonOf(error: unknown): string {
  const code = codeOf(error);
  if (code === "EACCES" || code === "EPERM") return "not permitted; run this as root";
  return code === "" ? String(error) : code;
}
