/** Paths below a root directory, their links followed as in a chroot: a copied tree must not lead out of itself. */
import { lstat, readlink } from "node:fs/promises";
import { join } from "node:path";

/** As the kernel: more links than that are a loop. */
const MOST_LINKS = 40;

/**
 * Where `path` leads below `root`, its links followed as if `root` were the root directory.
 *
 * @param refuse - the error for a path that leads through too many links.
 * @returns `/dev/null` itself where a link leads there, whether or not `root` has one.
 */
export async function resolveBelow(
  path: string,
  root: string,
  refuse: (reason: string) => Error,
): Promise<string> {
  if (root === "/") return path;
  let todo = path.split("/").filter((part) => part !== "");
  let done: string[] = [];
  for (let links = 0; todo.length > 0;) {
    const [part = "", ...rest] = todo;
    todo = rest;
    if (part === ".") continue;
    if (part === "..") {
      done = done.slice(0, -1);
      continue;
    }
    const target = await linkTarget(join(root, ...done, part));
    if (target === undefined) {
      done.push(part);
      continue;
    }
    if (++links > MOST_LINKS) throw refuse("leads through too many links");
    if (target.startsWith("/")) done = [];
    todo = [...target.split("/").filter((piece) => piece !== ""), ...todo];
    if (target === "/dev/null") return "/dev/null";
  }
  return join(root, ...done);
}

/** Whether `error` says that a file or a directory on the way to it does not exist. */
export function isNotThere(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}

async function linkTarget(path: string): Promise<string | undefined> {
  try {
    return (await lstat(path)).isSymbolicLink() ? await readlink(path) : undefined;
  } catch (error) {
    if (isNotThere(error)) return undefined;
    throw error;
  }
}
