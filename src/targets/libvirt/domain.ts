/** Which run of which domain a name stands for, and which process it is. */
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";

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
  /** Whose libvirt it is: the system's, or a user's own. */
  readonly instance: "system" | "session";
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
): Promise<RunningDomain> {
  try {
    const uri = await shell.ask(virshLine("uri"), "line", timeoutMs);
    const instance = instanceOf(uri);
    const id = await shell.ask(virshLine("domid", "--domain", wanted), "line", timeoutMs);
    if (id === "-") throw libvirtError("not-running", wanted, "");
    if (!/^\d+$/.test(id)) throw libvirtError("away", wanted, `domid is "${id}"`);
    const name = await shell.ask(virshLine("domname", id), "line", timeoutMs);
    const uuid = await shell.ask(virshLine("domuuid", id), "line", timeoutMs);
    return { name, uuid, id, instance };
  } catch (error) {
    throw whyNot(error, wanted);
  }
}

/** @throws {LibvirtError} for a libvirt of another host, or of another hypervisor (libvirt.org/uri.html). */
function instanceOf(uri: string): RunningDomain["instance"] {
  const [, scheme = "", transport, host, path] =
    /^([a-z]+)(?:\+([a-z0-9]+))?:\/\/([^/]*)(\/[^?]*)?/.exec(uri) ?? [];
  if (scheme !== "qemu") throw libvirtError("not-qemu", undefined, `its URI is ${uri}`);
  if (host !== "" || (transport !== undefined && transport !== "unix"))
    throw libvirtError("remote", undefined, `its URI is ${uri}`);
  return path === "/session" ? "session" : "system";
}

/** Where processes and pid files are looked for; a test has its own. */
export interface HostPlaces {
  readonly proc?: string | undefined;
  /** The root of `/run`. */
  readonly run?: string | undefined;
  readonly env: NodeJS.ProcessEnv;
}

/**
 * The QEMU process of a domain: the one that libvirt's own pid file names, where its command line has the domain's UUID.
 *
 * libvirt's monitor socket would do for QEMU's own word (`query-chardev`), but that is not taken for whose memory is
 * written to. The pid file alone may be of another libvirt, whose domain has the same name.
 *
 * @returns an empty list where it cannot be seen.
 */
export async function findDomainProcess(
  { name, uuid, instance }: RunningDomain,
  { proc = "/proc", run = "/run", env }: HostPlaces,
): Promise<readonly QemuProcess[]> {
  const directory =
    instance === "system" ? join(run, "libvirt/qemu") : join(runtimeDirectory(env), "libvirt/qemu/run");
  const text = await readFile(join(directory, `${name}.pid`), "latin1").catch(() => "");
  const pid = /^\d+$/.exec(text.trim())?.[0];
  if (pid === undefined) return [];
  const words = (await readFile(join(proc, pid, "cmdline"), "latin1").catch(() => "")).split("\0");
  if (words[words.indexOf("-uuid") + 1]?.toLowerCase() !== uuid.toLowerCase()) return [];
  const owner = await stat(join(proc, pid)).catch(() => undefined);
  return owner === undefined ? [] : [{ pid: Number(pid), uid: owner.uid, gid: owner.gid }];
}
