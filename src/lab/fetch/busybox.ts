/** A static busybox: the guest's whole user land. */
import { chmod, copyFile } from "node:fs/promises";
import { join } from "node:path";
import { listFiles, type CacheEntry } from "./cache.ts";
import { readInterpreter } from "./elf.ts";
import { FetchError } from "./errors.ts";
import type { Workshop } from "./workshop.ts";

/** The supply's name in the cache. */
export const BUSYBOX_ENTRY = "busybox";

/**
 * Fetches busybox-static of the machine's own release into the cache. Nothing is installed.
 *
 * @throws {FetchError} where the archive does not offer it, or it is not static.
 */
export async function fetchBusybox(workshop: Workshop): Promise<CacheEntry> {
  const { cache, log } = workshop.context;
  const apt = await workshop.suite(workshop.own.codename);
  const { name, version } = await apt.candidate("busybox-static");
  log(`Fetching ${name} ${version} of ${workshop.own.codename}`);
  const root = await workshop.unpack(apt, [{ name, version }]);
  // In /bin before Debian merged it into /usr/bin.
  const path = (await listFiles(root)).find((file) => file === "bin/busybox" || file === "usr/bin/busybox");
  if (path === undefined) throw new FetchError(`${name} ${version} has no busybox in it`);
  const entry = await workshop.directory("busybox");
  await copyFile(join(root, path), join(entry, "busybox"));
  await chmod(join(entry, "busybox"), 0o755);
  await checkStatic(join(entry, "busybox"));
  return cache.publish(BUSYBOX_ENTRY, entry, { package: name, version, facts: {} });
}

/** The program that a cache entry stands for. */
export function busyboxFromEntry(entry: CacheEntry): string {
  return join(entry.directory, "busybox");
}

/**
 * Checks that a program needs no loader: the guest has no library for it.
 *
 * @throws {FetchError} where it does, or is not an x86-64 program.
 */
export async function checkStatic(path: string): Promise<void> {
  const interpreter = await readInterpreter(path);
  if (interpreter !== undefined) throw new FetchError(`${path} is not static (it asks for ${interpreter})`);
}
