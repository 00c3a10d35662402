/** kexec-tools and exactly the libraries that it loads. */
import { join } from "node:path";
import type { CacheEntry } from "./cache.ts";
import { readInterpreter } from "./elf.ts";
import { FetchError } from "./errors.ts";
import type { Machine } from "./machine.ts";
import {
  command,
  copiedProgram,
  copyPrograms,
  installedParts,
  type Program,
  type SuppliedFile,
  suppliedFiles,
} from "./program.ts";
import type { Workshop } from "./workshop.ts";

/** kexec with what it needs at run time. A static kexec has neither libraries nor a loader. */
export interface KexecSupply {
  /** The program, on this machine; a guest has it as `/usr/sbin/kexec`. */
  readonly binary: string;
  /** What `kexec --version` says: `2.0.29`. */
  readonly version: string;
  readonly libraries: readonly SuppliedFile[];
  /** The dynamic loader, at the path that the program names (PT_INTERP). */
  readonly loader: SuppliedFile | undefined;
}

/** The supply's name in the cache. Below it, `root/` is laid out as in the guest. */
export const KEXEC_ENTRY = "kexec";

/** Where a guest has kexec. */
export const KEXEC_GUEST_PATH = "/usr/sbin/kexec";

const SUITE = "trixie";

/**
 * Fetches trixie's kexec-tools into the cache, and of its dependencies the shared objects that it loads.
 *
 * @throws {FetchError} where trixie is not in the archive, cannot be trusted, or its kexec does not run.
 */
export async function fetchKexec(workshop: Workshop): Promise<CacheEntry> {
  const { cache, log, machine, signal } = workshop.context;
  const apt = await workshop.suite(SUITE);
  const { version } = await apt.candidate("kexec-tools");
  // The closure has dpkg, debconf and tar in it as well, for maintainer scripts that are not run here.
  const closure = await apt.closure("kexec-tools");
  const packages = closure.filter(({ name }) => name === "kexec-tools" || /^(?:lib|zlib)/.test(name));
  log(`Fetching kexec-tools ${version} of ${SUITE} with ${packages.length - 1} libraries`);
  const root = await workshop.unpack(apt, packages);

  const entry = await workshop.directory("kexec");
  const to = join(entry, "root");
  const facts: Record<string, string> = {};
  const loader = await copyPrograms(workshop.context, { root, to, paths: [KEXEC_GUEST_PATH], label: SUITE });
  if (loader !== undefined) facts["loader"] = loader;
  // Run what a guest will run: these copies, and nothing of this machine's.
  facts["runs"] = await kexecVersion(machine, await copiedProgram(to, KEXEC_GUEST_PATH, loader), signal);
  return cache.publish(KEXEC_ENTRY, entry, { package: "kexec-tools", version, facts });
}

/** The supply that a cache entry stands for. It ran when it was fetched, and its files have not changed since. */
export function kexecFromEntry(entry: CacheEntry): KexecSupply {
  const supplied = suppliedFiles(entry);
  const loader = supplied.find(({ guestPath }) => guestPath === entry.facts["loader"]);
  return {
    binary: join(entry.directory, "root", KEXEC_GUEST_PATH),
    version: entry.facts["runs"] ?? "",
    libraries: supplied.filter((file) => file !== loader && file.guestPath !== KEXEC_GUEST_PATH),
    loader,
  };
}

/**
 * A kexec given by hand, with this machine's loader and the libraries that this machine has for it.
 *
 * @param path absolute.
 * @throws {FetchError} where it is no x86-64 program, or a library is missing, or it does not run.
 */
export async function givenKexec(
  machine: Machine,
  path: string,
  signal: AbortSignal | undefined,
): Promise<KexecSupply> {
  const loader = await readInterpreter(path);
  // Whether it is a kexec at all comes first: that is the clearer message.
  const version = await kexecVersion(machine, { loader, binary: path, directories: [] }, signal);
  return { binary: path, version, ...(await installedParts(machine, path, signal)) };
}

async function kexecVersion(
  machine: Machine,
  program: Program,
  signal: AbortSignal | undefined,
): Promise<string> {
  const [executable, args] = command(program, "--version");
  const purpose = `${program.binary} --version`;
  const result = await machine.run(executable, args, { purpose, limitSeconds: 20, signal });
  const version = /kexec-tools\s+(\d\S*)/.exec(result.stdout + result.stderr)?.[1];
  if (version !== undefined) return version;
  throw new FetchError(
    `${program.binary} is no kexec that runs here: ${result.stderr.trim() || "it says no version"}`,
  );
}
