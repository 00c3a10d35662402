/** systemd-udevd of a Debian release, with exactly the libraries that it loads, and util-linux's flock. */
import { join } from "node:path";
import type { CacheEntry } from "./cache.ts";
import { FetchError } from "./errors.ts";
import { command, copiedProgram, copyPrograms, type SuppliedFile, suppliedFiles } from "./program.ts";
import type { Workshop } from "./workshop.ts";

/** A Debian release whose udev the lab knows: systemd 247, 252 and 257. */
export type UdevSuite = "bullseye" | "bookworm" | "trixie";

/** A real udevd for a guest. */
export interface UdevSupply {
  readonly suite: UdevSuite;
  /** What `udevadm --version` says: `252`. */
  readonly version: string;
  /** Programs, libraries and loader. `guestPath` is as in Debian; a guest has each below a directory of its own. */
  readonly files: readonly SuppliedFile[];
  /** Paths of the programs, as in `guestPath`. */
  readonly programs: Readonly<Record<UdevProgram, string>>;
  /** The loader's path, as in `guestPath`. */
  readonly loader: string;
}

/** What is taken of the packages: udev's own programs, and flock, which busybox of Debian 12 does not have. */
export type UdevProgram = "systemd-udevd" | "udevadm" | "flock";

export const UDEV_PROGRAMS: readonly UdevProgram[] = ["systemd-udevd", "udevadm", "flock"];

/** Every suite, oldest first. */
export const UDEV_SUITES: readonly UdevSuite[] = ["bullseye", "bookworm", "trixie"];

/** Where Debian has them before it merged /bin and /lib into /usr; `copyPrograms` finds them in either place. */
const PATHS: Readonly<Record<UdevProgram, string>> = {
  "systemd-udevd": "/lib/systemd/systemd-udevd",
  udevadm: "/bin/udevadm",
  flock: "/usr/bin/flock",
};

/** The supply's name in the cache. Below it, `root/` is laid out as in Debian. */
export function udevEntryName(suite: UdevSuite): string {
  return `udev-${suite}`;
}

/**
 * Fetches a suite's udev and util-linux into the cache: three programs and the shared objects that they load. Rules,
 * hwdb and builtins' data of the package stay behind: udevd starts without, and a guest's rules are to be ours alone.
 *
 * @throws {FetchError} where the suite is not in the archive, cannot be trusted, or its programs do not run.
 */
export async function fetchUdev(workshop: Workshop, suite: UdevSuite): Promise<CacheEntry> {
  const { cache, log } = workshop.context;
  const apt = await workshop.suite(suite);
  const { version } = await apt.candidate("udev");
  const closure = await apt.closure("udev", "util-linux");
  const packages = closure.filter(({ name }) => /^(?:udev$|util-linux$|lib|zlib)/.test(name));
  log(`Fetching udev ${version} of ${suite} with ${packages.length - 1} packages of flock and libraries`);
  const root = await workshop.unpack(apt, packages);

  const entry = await workshop.directory("udev");
  const to = join(entry, "root");
  const copies = { root, to, paths: Object.values(PATHS), label: suite };
  const loader = await copyPrograms(workshop.context, copies);
  if (loader === undefined) throw new FetchError(`udev ${version} of ${suite} is static, which is new`);
  const facts = { loader, runs: await udevVersion(workshop, to, loader) };
  return cache.publish(udevEntryName(suite), entry, { package: "udev", version, facts });
}

/** The supply that a cache entry stands for. It ran when it was fetched, and its files have not changed since. */
export function udevFromEntry(suite: UdevSuite, entry: CacheEntry): UdevSupply {
  return {
    suite,
    version: entry.facts["runs"] ?? "",
    files: suppliedFiles(entry),
    programs: PATHS,
    loader: entry.facts["loader"] ?? "",
  };
}

/** Runs what a guest will run, these copies and nothing of this machine's: udevadm's version, and that flock runs. */
async function udevVersion(workshop: Workshop, to: string, loader: string): Promise<string> {
  await versionOf(workshop, to, loader, "flock", /util-linux (\d\S*)/);
  return versionOf(workshop, to, loader, "udevadm", /^(\d{3})/m);
}

async function versionOf(
  { context: { machine, signal } }: Workshop,
  to: string,
  interpreter: string,
  name: UdevProgram,
  wanted: RegExp,
): Promise<string> {
  const [executable, args] = command(await copiedProgram(to, PATHS[name], interpreter), "--version");
  const purpose = `${name} --version`;
  const result = await machine.run(executable, args, { purpose, limitSeconds: 20, signal });
  const version = wanted.exec(result.stdout)?.[1];
  if (version !== undefined) return version;
  throw new FetchError(
    `the fetched ${name} does not run here: ${result.stderr.trim() || "it says no version"}`,
  );
}
