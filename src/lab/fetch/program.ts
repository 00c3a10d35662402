/** A program of an unpacked package, and exactly the shared objects that it loads. */
import { copyFile, lstat, mkdir, readlink, realpath } from "node:fs/promises";
import { basename, dirname, join, normalize } from "node:path";
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

/** What {@link copyPrograms} copies, and where to. Directories are absolute. */
export interface ProgramsToCopy {
  /** Packages, unpacked. */
  readonly root: string;
  /** Where the copies go, laid out as in `root`. */
  readonly to: string;
  /** The programs' paths, as if `root` were `/`. */
  readonly paths: readonly string[];
  /** The suite, for messages. */
  readonly label: string;
}

/**
 * Copies programs with their loader and the shared objects that they load, and nothing else of their packages.
 *
 * A program that is a link to another one is copied under its own name: some look at what they are called.
 *
 * @returns the loader's path (PT_INTERP), as if `to` were `/`; undefined where all are static.
 * @throws {FetchError} where a part is not in `root`.
 */
export async function copyPrograms(
  context: Workshop["context"],
  { root, to, paths, label }: ProgramsToCopy,
): Promise<string | undefined> {
  const directories = await libraryDirectories(root);
  let interpreter: string | undefined;
  for (const path of paths) {
    await copyOut(root, to, path);
    const wanted = await readInterpreter(join(to, path));
    if (wanted === undefined) continue;
    interpreter = wanted;
    await copyOut(root, to, wanted);
    const program = { loader: join(to, wanted), binary: join(to, path), directories };
    await copyLibraries(context, { root, to, label }, program);
  }
  return interpreter;
}

/** What {@link copyTrees} copies, besides where to. */
export interface TreesToCopy extends Omit<ProgramsToCopy, "paths"> {
  /** Matches the path of each wanted file, as if `root` were `/`. */
  readonly wanted: RegExp;
  /** The loader that {@link copyPrograms} gave. */
  readonly loader: string;
}

/** Copies files that a program looks for by itself: data, and extensions (`*.so`) with the shared objects that those load. */
export async function copyTrees(
  context: Workshop["context"],
  { root, to, label, wanted, loader }: TreesToCopy,
): Promise<void> {
  const directories = await libraryDirectories(root);
  for (const path of (await listFiles(root)).map((name) => `/${name}`)) {
    if (!wanted.test(path)) continue;
    await copyOut(root, to, path);
    if (!path.endsWith(".so")) continue;
    const program = { loader: join(to, loader), binary: join(to, path), directories };
    await copyLibraries(context, { root, to, label }, program);
  }
}

async function copyOut(root: string, to: string, path: string): Promise<void> {
  const target = join(to, path);
  await mkdir(dirname(target), { recursive: true });
  await copyFile(await resolveIn(root, path), target);
}

async function copyLibraries(
  { machine, signal }: Workshop["context"],
  { root, to, label }: Omit<ProgramsToCopy, "paths">,
  program: Program & { readonly loader: string },
): Promise<void> {
  for (const library of await listLibraries(machine, program, signal)) {
    if (!library.startsWith(`${root}/`))
      throw new FetchError(`${label}'s ${basename(program.binary)} takes ${library} from this machine`);
    await copyOut(root, to, library.slice(root.length));
  }
}

/** A copied program, to be run with its copied loader and libraries and nothing of this machine's. */
export async function copiedProgram(
  to: string,
  path: string,
  interpreter: string | undefined,
): Promise<Program> {
  const loader = interpreter === undefined ? undefined : join(to, interpreter);
  return { loader, binary: join(to, path), directories: await libraryDirectories(to) };
}

/** The copies below `root/` of a cache entry. */
export function suppliedFiles(entry: CacheEntry): readonly SuppliedFile[] {
  return entry.files
    .filter((path) => path.startsWith("root/"))
    .map((path) => ({ guestPath: path.slice("root".length), hostPath: join(entry.directory, path) }));
}

/** A program that can be run here. */
export interface Program {
  /** The loader to start it with; undefined: the program is static. */
  readonly loader: string | undefined;
  readonly binary: string;
  /** Where the loader looks for libraries; none: its own choice. */
  readonly directories: readonly string[];
}

/** How to start a program with arguments: the executable, and what it is given. */
export function command(program: Program, ...args: readonly string[]): readonly [string, readonly string[]] {
  const { loader, binary, directories } = program;
  if (loader === undefined) return [binary, args];
  // --inhibit-cache: the machine's ld.so.cache is not the private loader's.
  const search = directories.length === 0 ? [] : ["--inhibit-cache", "--library-path", directories.join(":")];
  return [loader, [...search, binary, ...args]];
}

/** The shared objects that a program loads, as the loader's `--list` names them; vdso and the loader itself left out. */
export async function listLibraries(
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

/** What a program of this machine needs to run elsewhere. */
export interface InstalledParts {
  /** At the path that the program names (PT_INTERP); undefined: the program is static. */
  readonly loader: SuppliedFile | undefined;
  readonly libraries: readonly SuppliedFile[];
}

/**
 * The loader of a program of this machine, and the libraries that this machine has for it.
 *
 * @param binary absolute.
 * @throws {FetchError} where it is no x86-64 program, or a library is missing.
 */
export async function installedParts(
  machine: Machine,
  binary: string,
  signal: AbortSignal | undefined,
): Promise<InstalledParts> {
  const loader = await readInterpreter(binary);
  if (loader === undefined) return { loader, libraries: [] };
  const libraries = await listLibraries(machine, { loader, binary, directories: [] }, signal);
  return {
    loader: await installedFile(loader),
    libraries: await Promise.all(libraries.map(installedFile)),
  };
}

/** A file of this machine, for the same path in a guest: links are followed. @throws {FetchError} where it is not there. */
export async function installedFile(path: string): Promise<SuppliedFile> {
  try {
    return { guestPath: path, hostPath: await realpath(path) };
  } catch (cause) {
    throw new FetchError(cause instanceof Error ? cause.message : String(cause), { cause });
  }
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
