/** The QEMU process behind a QMP socket, and which file backs an address in it: read from /proc. */
import { readdir, readFile, readlink, realpath, stat } from "node:fs/promises";
import { join, resolve } from "node:path";

import type { ProcessOwner } from "./private-dir.ts";

/** One line of /proc/PID/maps. */
export interface Mapping {
  readonly start: bigint;
  readonly end: bigint;
  /** `rw-s` and the like; `s` is a mapping that others see. */
  readonly permissions: string;
  /** Where in the file it begins, bytes. */
  readonly offset: bigint;
  /** 0 where no file is behind it. */
  readonly inode: bigint;
  /** As the kernel prints it; ` (deleted)` is part of it. Empty for most memory without a file. */
  readonly path: string;
}

/** A QEMU process that holds the QMP socket. */
export interface QemuProcess extends ProcessOwner {
  readonly pid: number;
}

/** One line of HMP `info ramblock`. */
export interface RamBlockAddress {
  readonly name: string;
  /** Bytes in use. */
  readonly used: bigint;
  /** Where the block lies in QEMU's own address space. */
  readonly hostAddress: bigint;
}

/**
 * Sockets that are bound to a name.
 *
 * @param text /proc/net/unix (proc_pid_net(5)): Num RefCount Protocol Flags Type St Inode Path.
 */
export function parseUnixSockets(text: string): readonly { readonly inode: string; readonly path: string }[] {
  return text.split("\n").flatMap((line) => {
    const [, inode, path] = /^\S+: \S+ \S+ \S+ \S+ \S+ +(\d+) (.+)$/.exec(line) ?? [];
    return inode === undefined || path === undefined ? [] : [{ inode, path }];
  });
}

/** Reads /proc/PID/maps (proc_pid_maps(5)). */
export function parseMaps(text: string): readonly Mapping[] {
  const mappings: Mapping[] = [];
  for (const line of text.split("\n")) {
    const fields = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) \S+ (\d+) *(\S.*)?$/.exec(line);
    const [, start, end, permissions, offset, inode, path = ""] = fields ?? [];
    if (start === undefined || end === undefined || permissions === undefined) continue;
    if (offset === undefined || inode === undefined) continue;
    mappings.push({
      start: BigInt(`0x${start}`),
      end: BigInt(`0x${end}`),
      permissions,
      offset: BigInt(`0x${offset}`),
      inode: BigInt(inode),
      path,
    });
  }
  return mappings;
}

/**
 * Reads HMP `info ramblock`. QEMU before 8.1 prints no HVA column; then nothing is found, which is no error.
 */
export function parseRamBlocks(text: string): readonly RamBlockAddress[] {
  const [heading = "", ...lines] = text.split(/\r?\n/);
  if (!/ HVA\b/.test(heading)) return [];
  const blocks: RamBlockAddress[] = [];
  for (const line of lines) {
    const fields =
      /^ *(\S.*?) +\d+ (?:[KMGTPE]i)?B +0x[0-9a-f]+ +0x([0-9a-f]{1,16}) +0x[0-9a-f]+ +0x([0-9a-f]{1,16})(?: |$)/.exec(
        line,
      );
    const [, name, used, address] = fields ?? [];
    if (name === undefined || used === undefined || address === undefined) continue;
    blocks.push({ name, used: BigInt(`0x${used}`), hostAddress: BigInt(`0x${address}`) });
  }
  return blocks;
}

/** Every process that procfs shows. */
export async function processNumbers(proc: string): Promise<readonly number[]> {
  const names = await readdir(proc);
  return names.filter((name) => /^\d+$/.test(name)).map(Number);
}

/** Where each descriptor of a process leads; empty where we may not look or it has ended. */
export async function descriptorLinks(
  pid: number,
  proc: string = "/proc",
): Promise<readonly { readonly path: string; readonly target: string }[]> {
  const folder = join(proc, String(pid), "fd");
  const names = await readdir(folder).catch(() => []);
  const links = await Promise.all(
    names.map(async (name) => {
      const path = join(folder, name);
      return { path, target: await readlink(path).catch(() => "") };
    }),
  );
  return links.filter((link) => link.target !== "");
}

/**
 * The processes that hold the socket bound to `socketPath`: normally one, QEMU.
 *
 * QMP does not tell QEMU's process number, and Node cannot ask a socket for its peer; the kernel's table of
 * bound sockets tells the inode, and /proc/PID/fd who holds it.
 *
 * @param proc where procfs is mounted.
 * @returns an empty list where none can be seen: another user's, another network namespace, a forwarder.
 */
export async function findQemuProcesses(
  socketPath: string,
  proc: string = "/proc",
): Promise<readonly QemuProcess[]> {
  const absolute = resolve(socketPath);
  const real = await realpath(absolute).catch(() => absolute);
  const table = await readFile(join(proc, "net/unix"), "utf8").catch(() => "");
  // A server that was started with a relative name is bound to that: only its own directory completes it.
  const bound = new Map<string, string>();
  for (const { inode, path } of parseUnixSockets(table)) bound.set(`socket:[${inode}]`, path);
  if (bound.size === 0) return [];
  const found: QemuProcess[] = [];
  for (const pid of await processNumbers(proc)) {
    if (pid === process.pid) continue;
    const links = await descriptorLinks(pid, proc);
    const names = links.flatMap((link) => bound.get(link.target) ?? []);
    if (names.length === 0) continue;
    const directory = await readlink(join(proc, String(pid), "cwd")).catch(() => "/");
    const full = names.map((name) => resolve(directory, name));
    if (!full.some((name) => name === absolute || name === real)) continue;
    const owner = await stat(join(proc, String(pid))).catch(() => undefined);
    if (owner !== undefined) found.push({ pid, uid: owner.uid, gid: owner.gid });
  }
  return found;
}

/** The mappings of process `pid`; empty where we may not look. */
export async function mappingsOf(pid: number, proc: string = "/proc"): Promise<readonly Mapping[]> {
  const text = await readFile(join(proc, String(pid), "maps"), "utf8").catch(() => "");
  return parseMaps(text);
}
