/** What was fetched, kept between runs: one directory per supply, complete or absent. */
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { FetchError } from "./errors.ts";

/** One supply in the cache. */
export interface CacheEntry {
  readonly directory: string;
  readonly package: string;
  readonly version: string;
  /** What the fetcher wants to know again: a kernel's release, for example. */
  readonly facts: Readonly<Record<string, string>>;
  /** Paths of the files, relative to `directory`, sorted. */
  readonly files: readonly string[];
}

/** What the fetcher tells about a supply when it publishes it. */
export type Description = Pick<CacheEntry, "package" | "version" | "facts">;

const MANIFEST = "manifest.json";

/** A path that stays inside its directory. */
const RELATIVE = /^(?!\/)(?!(?:.*\/)?\.\.?(?:\/|$))[^\0]+$/;

const ManifestSchema = v.object({
  schemaVersion: v.literal(1),
  package: v.string(),
  version: v.string(),
  facts: v.record(v.string(), v.string()),
  /** Lower-case hex SHA-256 of every file, by path. */
  files: v.record(v.pipe(v.string(), v.regex(RELATIVE)), v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/))),
});

/** Work directories of runs that were killed go after this long: no fetch takes nearly as much. */
const ABANDONED_MS = 6 * 3600 * 1000;
const WORK_PREFIX = ".work-";

/** The cache directory. Get one by {@link openCache}. */
export class SupplyCache {
  readonly root: string;
  readonly #log: (line: string) => void;

  constructor(root: string, log: (line: string) => void) {
    this.root = root;
    this.#log = log;
  }

  /**
   * Reads a supply and checks the SHA-256 of each of its files.
   *
   * @returns undefined where it is not there, or broken; the latter is logged.
   */
  async read(name: string): Promise<CacheEntry | undefined> {
    const found = await this.#check(join(this.root, name));
    if (typeof found !== "string") return found;
    this.#log(`${name} in ${this.root} is broken (${found}), fetching it again`);
    return undefined;
  }

  /**
   * A new directory next to the supplies, so that a rename publishes it. Whoever takes it removes it.
   *
   * @throws the file system's error, which {@link cacheTrouble} puts into words.
   */
  async workDirectory(): Promise<string> {
    return mkdtemp(join(this.root, WORK_PREFIX));
  }

  /**
   * Makes a complete directory the supply called `name`: writes its manifest, then renames it.
   *
   * Where another process published the same supply meanwhile, that one is taken and `directory` stays behind.
   *
   * @param directory a directory inside one of `workDirectory()`, whose every regular file is part of the supply.
   */
  async publish(name: string, directory: string, description: Description): Promise<CacheEntry> {
    const files: Record<string, string> = {};
    for (const path of await listFiles(directory)) files[path] = await sha256(join(directory, path));
    const manifest = { schemaVersion: 1, ...description, files };
    await writeFile(join(directory, MANIFEST), `${JSON.stringify(manifest, null, 2)}\n`);

    const final = join(this.root, name);
    for (let attempt = 0; attempt < 3; attempt += 1) {
      try {
        await rename(directory, final);
        return { directory: final, ...description, files: Object.keys(files) };
      } catch (cause) {
        if (!isTaken(cause)) throw cause;
      }
      const other = await this.#check(final);
      if (typeof other === "object") return other;
      // What is in the way is broken: out with it, by a rename, so that nobody sees half of a directory.
      const aside = await this.workDirectory();
      await rename(final, join(aside, "broken")).catch(() => undefined);
      await rm(aside, { recursive: true, force: true });
    }
    throw new FetchError(`${final} keeps being replaced by another process`);
  }

  /** The entry; undefined where there is no directory; what is wrong with it, where something is. */
  async #check(directory: string): Promise<CacheEntry | string | undefined> {
    if (!(await exists(directory))) return undefined;
    let text: string;
    try {
      text = await readFile(join(directory, MANIFEST), "utf8");
    } catch {
      return `no ${MANIFEST}`;
    }
    const manifest = v.safeParse(ManifestSchema, parseJson(text));
    if (!manifest.success) return `unreadable ${MANIFEST}`;
    const { files, package: packageName, version, facts } = manifest.output;
    for (const [path, expected] of Object.entries(files)) {
      const actual = await sha256(join(directory, path)).catch(() => undefined);
      if (actual === undefined) return `${path} is missing`;
      if (actual !== expected) return `${path} has another SHA-256`;
    }
    return { directory, package: packageName, version, facts, files: Object.keys(files) };
  }
}

/**
 * Opens the cache, makes its directory, and removes what killed runs left there.
 *
 * @throws {FetchError} where the directory cannot be made.
 */
export async function openCache(root: string, log: (line: string) => void): Promise<SupplyCache> {
  try {
    await mkdir(root, { recursive: true });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new FetchError(
      `Cannot make the cache directory "${root}" (XDG_CACHE_HOME chooses another): ${why}`,
      { cause },
    );
  }
  for (const name of await readdir(root)) {
    if (!name.startsWith(WORK_PREFIX)) continue;
    const path = join(root, name);
    const age = Date.now() - (await stat(path).catch(() => ({ mtimeMs: Date.now() }))).mtimeMs;
    if (age > ABANDONED_MS) await rm(path, { recursive: true, force: true });
  }
  return new SupplyCache(root, log);
}

/**
 * Disk space that a fetch of everything takes while it works, with some to spare: lists, packages and what comes out of
 * them were 1,078 MiB at most (once a second, 2026-11-29); 171 MiB stay.
 */
const ROOM = "2 GB";

/**
 * What a file system's refusal means to who fetches: no room, or no right to write.
 *
 * @returns a {@link FetchError} with what to do; `error` itself where it is none of the two.
 */
export function cacheTrouble(error: unknown, root: string): unknown {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  const elsewhere = "or choose another directory with XDG_CACHE_HOME";
  switch (code) {
    case "ENOSPC":
    case "EDQUOT":
      return new FetchError(
        `There is no room in the cache directory "${root}" (${code}): make room for ${ROOM}, ${elsewhere}`,
        { cause: error },
      );
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new FetchError(
        `Cannot write in the cache directory "${root}" (${code}): run this as the user whose it is, ${elsewhere}`,
        { cause: error },
      );
    default:
      return error;
  }
}

/** The regular files below a directory, as relative paths, sorted. Links and the manifest are left out. */
export async function listFiles(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .filter((path) => path !== MANIFEST)
    .sort();
}

async function sha256(path: string): Promise<string> {
  return createHash("sha256")
    .update(await readFile(path))
    .digest("hex");
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** rename(2) onto a directory that is not empty. */
function isTaken(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "ENOTEMPTY" || code === "EEXIST" || code === "ENOTDIR";
}
