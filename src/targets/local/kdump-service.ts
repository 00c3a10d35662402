/** What systemd knows of kdump's services, by the files that it keeps: it is not asked, and nothing is started. */
import { basename } from "node:path/posix";
import type { ReadTree } from "../../layout/sysfs.ts";
import { LocalError } from "./error.ts";

/** A service that loads the capture kernel. */
export interface KdumpService {
  readonly unit: string;
  /** Where its unit file is. */
  readonly path: string;
  /** Whether nobody can start it: its file is empty, or a link to /dev/null. */
  readonly isMasked: boolean;
  /** Whether it is started at boot. */
  readonly isEnabled: boolean;
  /** Whether it was started and not stopped; undefined where that is not known. */
  readonly isActive: boolean | undefined;
}

/** RHEL, Fedora and openSUSE; Debian and Ubuntu. openSUSE's second one loads early at boot. */
const UNITS = ["kdump.service", "kdump-tools.service", "kdump-early.service"];
const UNIT_DIRECTORIES = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
const INVOCATIONS = "/run/systemd/units";

/** The services that are installed. */
export async function findKdumpServices(tree: ReadTree): Promise<readonly KdumpService[]> {
  const isActive = await readActiveUnits(tree);
  const found: KdumpService[] = [];
  for (const unit of UNITS) {
    const path = await unitFile(tree, unit);
    if (path === undefined) continue;
    found.push({
      unit,
      path,
      isMasked: !(await textOf(tree, path)),
      isEnabled: await isWanted(tree, unit),
      isActive: isActive(unit),
    });
  }
  return found;
}

/**
 * Says whether a unit is active: systemd has a link `invocation:UNIT` for each that is (unit_export_invocation_id, since
 * v235), also for one that has done its work and stays (RemainAfterExit). Without that directory nothing is known.
 */
export async function readActiveUnits(tree: ReadTree): Promise<(unit: string) => boolean | undefined> {
  const names = new Set(await tree.list(INVOCATIONS));
  return (unit) => (names.size === 0 ? undefined : names.has(`invocation:${unit}`));
}

/** A link in some target's directory of wants. */
async function isWanted(tree: ReadTree, unit: string): Promise<boolean> {
  for (const directory of UNIT_DIRECTORIES) {
    for (const name of await tree.list(directory))
      if (/\.(?:wants|requires)$/.test(name) && (await tree.list(`${directory}/${name}`)).includes(unit))
        return true;
  }
  return false;
}

async function unitFile(tree: ReadTree, unit: string): Promise<string | undefined> {
  for (const directory of UNIT_DIRECTORIES)
    if ((await tree.list(directory)).includes(unit)) return `${directory}/${unit}`;
  return undefined;
}

/** Where udevd's unit leaves out the system calls that load a kernel. */
export interface SystemCallFilter {
  readonly path: string;
  readonly line: number;
}

/**
 * The line of systemd-udevd.service that keeps whatever udev's workers run from loading a kernel: a list of allowed
 * system calls without kexec_load and kexec_file_load (systemd, seccomp-util.c). Debian 12 and 13 have one. What is handed to PID 1 (systemd-run) is not concerned.
 */
export async function findSystemCallFilter(tree: ReadTree): Promise<SystemCallFilter | undefined> {
  const unit = "systemd-udevd.service";
  const path = await unitFile(tree, unit);
  if (path === undefined) return undefined;
  const dropIns = (
    await Promise.all(
      UNIT_DIRECTORIES.map(async (directory) =>
        (await tree.list(`${directory}/${unit}.d`)).map((name) => `${directory}/${unit}.d/${name}`),
      ),
    )
  )
    .flat()
    .filter((name) => name.endsWith(".conf"))
    // Whichever directory they are in, they are read by name.
    .sort((a, b) => (basename(a) < basename(b) ? -1 : 1));
  let allowed: readonly string[] = [];
  let place: SystemCallFilter | undefined;
  for (const file of [path, ...dropIns]) {
    for (const [i, line] of ((await textOf(tree, file)) ?? "").split("\n").entries()) {
      const list = /^\s*SystemCallFilter\s*=\s*(.*)$/.exec(line)?.[1]?.trim();
      if (list === undefined) continue;
      // Empty: all that was said before is taken back. With ~ it is a list of what is refused.
      if (list === "") [allowed, place] = [[], undefined];
      else if (!list.startsWith("~")) {
        allowed = [...allowed, ...list.split(/\s+/)];
        place ??= { path: file, line: i + 1 };
      }
    }
  }
  return allowed.some((name) => KEXEC_CALLS.has(name.split(":")[0] ?? "")) ? undefined : place;
}

/** The sets that have those two, by themselves or through `@reboot` (`systemd-analyze syscall-filter` of v252). */
const KEXEC_CALLS: ReadonlySet<string> = new Set([
  "@reboot",
  "@privileged",
  "@known",
  "kexec_load",
  "kexec_file_load",
]);

/** undefined also where there is no regular file: a unit is masked by a link to /dev/null. */
async function textOf(tree: ReadTree, path: string): Promise<string | undefined> {
  try {
    return await tree.readText(path);
  } catch (error) {
    if (error instanceof LocalError) return undefined;
    throw error;
  }
}
