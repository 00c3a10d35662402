/** The same guest under several names has one key. */
import { realpath } from "node:fs/promises";
import { resolve } from "node:path";

/**
 * What `target` is known by, wherever the one who names it stands; undefined for machines that every process has for
 * itself.
 */
export async function keyOf(target: string): Promise<string | undefined> {
  if (target.startsWith("libvirt:")) return target;
  if (!target.startsWith("qmp:")) return undefined;
  const path = resolve(target.slice("qmp:".length));
  return `qmp:${await realpath(path).catch(() => path)}`;
}
