/** The QMP sockets behind `qmp:PATH`, where PATH may be a pattern: they come and go with their QEMUs. */
import { type FSWatcher, watch } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

import type { Listed, TargetSource } from "../../keeper/service/source.ts";
import { compileGlob } from "../../rules/glob.ts";
import { TargetError } from "../target.ts";
import { codeOf } from "./unix-socket.ts";

export interface SocketSourceOptions {
  /** Milliseconds between two looks where the directory tells of nothing; default 5000. */
  readonly rescanMs?: number;
  /** Told once of each trouble: the slow look goes on. */
  readonly onTrouble?: (words: string) => void;
}

const RESCAN_MS = 5000;
/** A guest that starts makes several changes in its directory: this long they are waited for, ms. */
const SETTLE_MS = 20;

/** Whether `path` is a pattern: one without `*` and `?` is none, so that brackets in a name need no care. */
export function isPattern(path: string): boolean {
  return /[*?]/.test(path);
}

/**
 * Watches for the sockets behind `path`. A pattern stands for the sockets that are there; a plain path is listed whether
 * there is a socket or not.
 *
 * The matcher is the project's own fnmatch(3): it is there for udev rules, is tested against the original, and its time
 * is bounded whatever the pattern is. Only the last part of a path is a pattern, so that one directory has to be watched
 * and not a tree.
 *
 * @throws {TargetError} for a pattern in another part.
 */
export function socketSource(path: string, options: SocketSourceOptions = {}): TargetSource {
  if (isPattern(dirname(path)))
    throw new TargetError(
      `Cannot use ${JSON.stringify(`qmp:${path}`)} as a target: only the last part of a path may be a pattern; give one target for each directory`,
    );
  return { watch: (listed) => new SocketWatch(path, options, listed) };
}

/** One directory, seen by its own events and now and then by a look. */
class SocketWatch implements Disposable {
  readonly #path: string;
  readonly #directory: string;
  readonly #options: SocketSourceOptions;
  readonly #listed: (targets: readonly Listed[]) => void;
  readonly #matches: (name: string) => boolean;
  #watcher: FSWatcher | undefined;
  /** Which directory the watcher is on: another one may be at its place by now. */
  #watched: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #told: string | undefined;
  #trouble: string | undefined;
  #scanning = false;
  /** Whether the next scan is near already. */
  #soon = false;
  #ended = false;

  constructor(path: string, options: SocketSourceOptions, listed: (targets: readonly Listed[]) => void) {
    this.#path = path;
    this.#directory = dirname(path);
    this.#options = options;
    this.#listed = listed;
    const name = basename(path);
    const matches = isPattern(path) ? compileGlob(name) : (other: string): boolean => other === name;
    // As a shell does: what is hidden has to be named.
    this.#matches = (other) => matches(other) && (name.startsWith(".") || !other.startsWith("."));
    void this.#scan();
  }

  [Symbol.dispose](): void {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#watcher?.close();
  }

  async #scan(): Promise<void> {
    this.#scanning = true;
    this.#soon = false;
    try {
      await this.#watch();
      const targets = await this.#look();
      const text = JSON.stringify(targets);
      if (this.#ended || targets === undefined || text === this.#told) return;
      this.#told = text;
      this.#listed(targets);
    } finally {
      this.#scanning = false;
      this.#again(this.#soon ? SETTLE_MS : (this.#options.rescanMs ?? RESCAN_MS));
    }
  }

  /** Something happened in the directory. Where much does, it is looked at all the same. */
  #changed(): void {
    if (this.#soon) return;
    this.#soon = true;
    if (!this.#scanning) this.#again(SETTLE_MS);
  }

  #again(ms: number): void {
    clearTimeout(this.#timer);
    if (!this.#ended) this.#timer = setTimeout(() => void this.#scan(), ms);
  }

  /** What is there now; undefined where that cannot be told: then what was there is believed to be there still. */
  async #look(): Promise<readonly Listed[] | undefined> {
    const plain = !isPattern(this.#path);
    let names: readonly string[];
    try {
      names = plain ? [basename(this.#path)] : (await readdir(this.#directory)).filter(this.#matches);
    } catch (error) {
      if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return [];
      this.#troubled(`Cannot look for ${this.#path}: ${messageOf(error)}`);
      return undefined;
    }
    const listed = await Promise.all(
      names.toSorted().map(async (name): Promise<readonly Listed[]> => {
        const path = plain ? this.#path : join(this.#directory, name);
        const entry = await stat(path, { bigint: true }).catch(() => undefined);
        if (!plain && entry?.isSocket() !== true) return [];
        // A QEMU that starts again makes a new socket, mostly with another number, always with another time.
        return [{ target: `qmp:${path}`, token: entry ? `${entry.dev}:${entry.ino}:${entry.ctimeNs}` : "" }];
      }),
    );
    return listed.flat();
  }

  /** Sees to it that the directory that is there now is watched. Where it cannot be, the slow look is all. */
  async #watch(): Promise<void> {
    const entry = await stat(this.#directory).catch(() => undefined);
    const now = entry && `${entry.dev}:${entry.ino}`;
    if (this.#ended || now === this.#watched) return;
    this.#watcher?.close();
    this.#watcher = undefined;
    this.#watched = undefined;
    if (now === undefined) return;
    try {
      const watcher = watch(this.#directory, { persistent: false }, (_, name) => {
        if (name === null || this.#matches(name) || name === basename(this.#directory)) this.#changed();
      });
      watcher.on("error", (error) => {
        this.#troubled(`Cannot watch ${this.#directory}: ${messageOf(error)}`);
        watcher.close();
        this.#watched = undefined;
      });
      this.#watcher = watcher;
      this.#watched = now;
    } catch (error) {
      // No instance or no watch is left (inotify(7)): what comes is seen a few seconds later.
      this.#troubled(`Cannot watch ${this.#directory}: ${messageOf(error)}; it is looked at now and then`);
    }
  }

  #troubled(words: string): void {
    if (this.#trouble === words) return;
    this.#trouble = words;
    this.#options.onTrouble?.(words);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
