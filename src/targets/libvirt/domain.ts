/** Which run of which domain a name stands for, and which process it is. */
import { readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";

import type { QemuProcess } from "../qemu/qemu-process.ts";
import { runtimeDirectory } from "./environment.ts";
import { libvirtError } from "./error.ts";
import { whyNot } from "./list.ts";
import type { VirshShell } from "./shell.ts";
import { virshLine } from "./words.ts";

/** A domain that runs. */
export interface RunningDomain {
  readonly name: string;
  readonly uuid: string;
  /** Its number, which is another one after each start: a command to it never reaches a later QEMU of the same domain. */
  readonly id: string;
  /** Where its libvirt has the pid files of its domains. */
  readonly stateDirectory: string;
}

/**
 * Looks `wanted` up, a name or a UUID.
 *
 * @throws {LibvirtError} where there is no such domain that runs, no libvirt, or one that is not for us.
 */
export async function findDomain(
  shell: VirshShell,
  wanted: string,
  timeoutMs: number,
  env: NodeJS.ProcessEnv,
): Promise<RunningDomain> {
  try {
    const stateDirectory = stateDirectoryOf(await shell.ask(virshLine("uri"), "line", timeoutMs), env);
    const id = await shell.ask(virshLine("domid", "--domain", wanted), "line", timeoutMs);
    if (id === "-") throw libvirtError("not-running", wanted, "");
    if (!/^\d+$/.test(id)) throw libvirtError("away", wanted, `domid is "${id}"`);
    const name = await shell.ask(virshLine("domname", id), "line", timeoutMs);
    const uuid = await shell.ask(virshLine("domuuid", id), "line", timeoutMs);
    return { name, uuid, id, stateDirectory };
  } catch (error) {
    throw whyNot(error, wanted);
  }
}

/**
 * Where the libvirt at `uri` has its state: beside its socket.
 *
 * @throws {LibvirtError} for a libvirt of another host, or of another hypervisor (libvirt.org/uri.html).
 */
export function stateDirectoryOf(uri: string, env: NodeJS.ProcessEnv): string {
  const parts = /^([a-z]+)(?:\+([a-z0-9]+))?:\/\/([^/?]*)(\/[^?]*)?(?:\?(.*))?$/.exec(uri);
  const [, scheme, transport = "unix", host, path, query = ""] = parts ?? [];
  if (scheme !== "qemu") throw libvirtError("not-qemu", undefined, `its URI is ${uri}`);
  if (host !== "" || transport !== "unix") throw libvirtError("remote", undefined, `its URI is ${uri}`);
  const socket = new URLSearchParams(query).get("socket");
  const own = path === "/session";
  const beside = socket === null ? join(own ? runtimeDirectory(env) : "/run", "libvirt") : dirname(socket);
  return join(beside, own ? "qemu/run" : "qemu");
}

/**
 * The QEMU process of a domain: the one that libvirt's own pid file names, where its command line has the domain's UUID.
 *
 * libvirt's monitor socket would do for QEMU's own word (`query-chardev`), but that is not taken for whose memory is
 * written to. The pid file alone may be of another libvirt, whose domain has the same name.
 *
 * @param proc where procfs is mounted.
 * @returns an empty list where it cannot be seen.
 */
export async function findDomainProcess(
  { name, uuid, stateDirectory }: RunningDomain,
  proc: string = "/proc",
): Promise<readonly QemuProcess[]> {
  const pid = await pidIn(stateDirectory, [name, escaped(name)]);
  if (pid === undefined) return [];
  const words = (await readFile(join(proc, pid, "cmdline"), "latin1").catch(() => "")).split("\0");
  if (words[words.indexOf("-uuid") + 1]?.toLowerCase() !== uuid.toLowerCase()) return [];
  const owner = await stat(join(proc, pid)).catch(() => undefined);
  return owner === undefined ? [] : [{ pid: Number(pid), uid: owner.uid, gid: owner.gid }];
}

async function pidIn(directory: string, names: readonly string[]): Promise<string | undefined> {
  for (const name of names) {
    const text = await readFile(join(directory, `${name}.pid`), "latin1").catch(() => "");
    const pid = /^\d+$/.exec(text.trim())?.[0];
    if (pid !== undefined) return pid;
  }
  return undefined;
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&apos;",
};

/** libvirt writes the name of a pid file as if it were XML (virPidFileBuildPath; seen with 9.0: `it&apos;s.pid`). */
function escaped(name: string): string {
  return name.replaceAll(/[&<>"']/g, (each) => ENTITIES[each] ?? each);
}
