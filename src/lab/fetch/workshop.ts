/** One fetch's working place: its directory in the cache, and one private apt per suite. */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { openPrivateApt, type PackageVersion, type PrivateApt } from "./apt.ts";
import type { SupplyCache } from "./cache.ts";
import { FetchError } from "./errors.ts";
import type { Machine } from "./machine.ts";
import { renderForSuite, renderWithBackports, type OwnSources } from "./suites.ts";

/** What everyone who fetches is given. */
export interface FetchContext {
  readonly machine: Machine;
  readonly cache: SupplyCache;
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** A working place. It makes its directory when it is first used; `close` removes it. */
export class Workshop {
  readonly context: FetchContext;
  readonly own: OwnSources;
  readonly #apts = new Map<string, Promise<PrivateApt>>();
  #directory: Promise<string> | undefined;
  #count = 0;

  constructor(context: FetchContext, own: OwnSources) {
    this.context = context;
    this.own = own;
  }

  /** A new empty directory, on the cache's own file system. */
  async directory(name: string): Promise<string> {
    this.#directory ??= this.context.cache.workDirectory();
    const path = join(await this.#directory, `${this.#count++}-${name}`);
    await mkdir(path);
    return path;
  }

  /** apt on a suite of the machine's own archive, as if nothing were installed. Updated once. */
  suite(suite: string): Promise<PrivateApt> {
    return this.#apt(suite, () => ({ sources: renderForSuite(this.own, suite), status: "empty" }));
  }

  /** apt on the machine's own suite and its backports, on top of what is installed. Updated once. */
  withBackports(): Promise<PrivateApt> {
    const label = `${this.own.codename} with backports`;
    return this.#apt(label, () => ({ sources: renderWithBackports(this.own), status: "system" }));
  }

  /**
   * Downloads packages and unpacks them, without installing, into one new directory.
   *
   * A download that comes broken is tried once more from nothing: apt keeps no half of it.
   */
  async unpack(apt: PrivateApt, packages: readonly PackageVersion[]): Promise<string> {
    const { machine, signal } = this.context;
    const root = await this.directory("root");
    for (const archive of await this.#download(apt, packages)) {
      const purpose = `dpkg-deb --extract of ${archive}`;
      const args = ["--extract", archive, root];
      const result = await machine.run("dpkg-deb", args, { purpose, limitSeconds: 300, signal });
      if (result.code !== 0) throw new FetchError(`Cannot unpack ${archive}: ${result.stderr.trim()}`);
      await rm(archive);
    }
    return root;
  }

  async #download(apt: PrivateApt, packages: readonly PackageVersion[]): Promise<readonly string[]> {
    try {
      return await apt.download(packages, await this.directory("archives"));
    } catch (error) {
      if (!(error instanceof FetchError)) throw error;
      this.context.log(`${error.message}: fetching it again`);
    }
    await apt.forgetDownloads();
    return apt.download(packages, await this.directory("archives"));
  }

  /** Removes the directory. A stopped program's children may still be writing there for a moment: rm tries again. */
  async close(): Promise<void> {
    // One that could not be made has been told of by whoever wanted it: a second error would hide what the first one was.
    const directory = await this.#directory?.catch(() => undefined);
    if (directory === undefined) return;
    await rm(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }

  #apt(
    label: string,
    how: () => { readonly sources: string; readonly status: "empty" | "system" },
  ): Promise<PrivateApt> {
    let apt = this.#apts.get(label);
    if (apt === undefined) {
      apt = this.#openApt(label, how());
      this.#apts.set(label, apt);
    }
    return apt;
  }

  async #openApt(
    label: string,
    how: { readonly sources: string; readonly status: "empty" | "system" },
  ): Promise<PrivateApt> {
    const { machine, log, signal } = this.context;
    const directory = await this.directory("apt");
    const apt = await openPrivateApt({ machine, directory, label, log, signal, ...how });
    await apt.update();
    return apt;
  }
}
