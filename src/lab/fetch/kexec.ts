/** kexec-tools and exactly the libraries that it loads. */
import { copyFile, lstat, mkdir, readlink, realpath } from "node:fs/promises";
import { dirname, join, normalize } from "node:path";
import { listFiles, type CacheEntry } from "./cache.ts";
import { readInterpreter } from "./elf.ts";
import { FetchError } from "./errors.ts";
import type { Machine } from "./machine.ts";
import type { Workshop } from "./workshop.ts";

/** A file and where a guest has it. */
export interface SuppliedFile {
  /** Absolute, in the guest. */
  readonly guestPath: string;
  /** Absolute, on this machine. */
  readonly hostPath: string;
}

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

  const binary = join(root, KEXEC_GUEST_PATH);
  const interpreter = await readInterpreter(binary);
  const entry = await workshop.directory("kexec");
  const put = async (from: string, guestPath: string): Promise<void> => {
    const to = join(entry, "root", guestPath);
    await mkdir(dirname(to), { recursive: true });
    await copyFile(await resolveIn(root, from), to);
  };
  await put(KEXEC_GUEST_PATH, KEXEC_GUEST_PATH);
  const facts: Record<string, string> = {};
  if (interpreter !== undefined) {
    facts["loader"] = interpreter;
    await put(interpreter, interpreter);
    const directories = await libraryDirectories(root);
    const program = { loader: join(entry, "root", interpreter), binary, directories };
    for (const path of await listLibraries(machine, program, signal)) {
      if (!path.startsWith(`${root}/`))
        throw new FetchError(`${SUITE}'s kexec takes ${path} from this machine`);
      await put(path.slice(root.length), path.slice(root.length));
    }
  }
  // Run what a guest will run: these copies, and nothing of this machine's.
  const program = await programOf(entry, facts["loader"]);
  facts["runs"] = await kexecVersion(machine, program, signal);
  return cache.publish(KEXEC_ENTRY, entry, { package: "kexec-tools", version, facts });
}

async function programOf(entry: string, interpreter: string | undefined): Promise<Program> {
  const root = join(entry, "root");
  const loader = interpreter === undefined ? undefined : join(root, interpreter);
  return { loader, binary: join(root, KEXEC_GUEST_PATH), directories: await libraryDirectories(root) };
}

/** The supply that a cache entry stands for. It ran when it was fetched, and its files have not changed since. */
export function kexecFromEntry(entry: CacheEntry): KexecSupply {
  const supplied = entry.files
    .filter((path) => path.startsWith("root/"))
    .map((path) => ({ guestPath: path.slice("root".length), hostPath: join(entry.directory, path) }));
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
  const program = { loader, binary: path, directories: [] };
  const version = await kexecVersion(machine, program, signal);
  if (loader === undefined) return { binary: path, version, libraries: [], loader: undefined };
  const libraries = await listLibraries(machine, { ...program, loader }, signal);
  return {
    binary: path,
    version,
    libraries: await Promise.all(
      libraries.map(async (library) => ({ guestPath: library, hostPath: await realpath(library) })),
    ),
    loader: { guestPath: loader, hostPath: await realpath(loader) },
  };
}

interface Program {
  /** The loader to start it with; undefined: the program is static. */
  readonly loader: string | undefined;
  readonly binary: string;
  /** Where the loader looks for libraries; none: its own choice. */
  readonly directories: readonly string[];
}

function command(program: Program, ...args: readonly string[]): readonly [string, readonly string[]] {
  const { loader, binary, directories } = program;
  if (loader === undefined) return [binary, args];
  // --inhibit-cache: the machine's ld.so.cache is not the private loader's.
  const search = directories.length === 0 ? [] : ["--inhibit-cache", "--library-path", directories.join(":")];
  return [loader, [...search, binary, ...args]];
}

/** The shared objects that a program loads, as the loader's `--list` names them; vdso and the loader itself left out. */
async function listLibraries(
  machine: Machine,
  program: Program & { readonly loader: string },
  signal: AbortSignal | undefined,
): Promise<readonly string[]> {
  const [loader, args] = command(program);
  const purpose = `list of the libraries of ${program.binary}`;
  const result = await machine.run(loader, ["--list", ...args], { purpose, limitSeconds: 20, signal });
  const missing = /^\s*(\S+) => not found/m.exec(result.stdout)?.[1];
  if (result.code !== 0 || missing !== undefined) {
    throw new FetchError(`${program.binary} lacks ${missing ?? (result.stderr.trim() || "libraries")}`);
  }
  return parseLibraryList(result.stdout);
}

/** Reads `NAME => PATH (ADDRESS)` lines. */
export function parseLibraryList(text: string): readonly string[] {
  return [...text.matchAll(/^\s*(\S+) => (\/.*) \(0x[0-9a-f]+\)$/gm)]
    .filter(([, name = ""]) => !name.startsWith("/"))
    .map(([, , path = ""]) => normalize(path));
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

/** Every directory of an unpacked tree that has a shared object in it. */
async function libraryDirectories(root: string): Promise<readonly string[]> {
  const objects = (await listFiles(root)).filter((path) => /\.so(?:\.|$)/.test(path));
  return [...new Set(objects.map((path) => join(root, dirname(path))))];
}

/**
 * Follows a file's links as if `root` were `/`, and finds `/lib64/X` as `/usr/lib64/X`: Debian's packages ship
 * the second, and the link between them is made at installation.
 */
async function resolveIn(root: string, path: string): Promise<string> {
  let inside = path;
  for (let hop = 0; hop < 16; hop += 1) {
    const status = await lstat(join(root, inside)).catch(() => undefined);
    if (status === undefined) {
      if (inside.startsWith("/usr/")) break;
      inside = `/usr${inside}`;
      continue;
    }
    if (!status.isSymbolicLink()) return join(root, inside);
    const target = await readlink(join(root, inside));
    inside = target.startsWith("/") ? target : join(dirname(inside), target);
  }
  throw new FetchError(`${path} is not in the unpacked packages`);
}
