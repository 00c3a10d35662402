/**
 * The keeper's side of the watcher process: it is told of each pause by a pipe, and when that pipe ends while one is
 * open, it lets the guest run (pause-watcher-main.ts).
 *
 * One process for each keeper, however many guests that has. It has a session of its own, so that a signal to the
 * keeper's group does not take both.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { Socket } from "node:net";
import { fileURLToPath } from "node:url";

import { BUNDLE } from "../../bundle.ts";
import { ownMark } from "../process-mark.ts";
import type { OpenPause, PauseWitness, Resumable } from "./pause-witness.ts";
import { hasExited } from "../child.ts";

export interface PauseWatcherOptions {
  /** Told of trouble with it, one line. */
  readonly say: (line: string) => void;
  /** The journal's file, to which it appends what it has done; none unless told. */
  readonly journalFile?: string | undefined;
  /** The program; for tests. */
  readonly main?: string;
}

/** What the keeper sends, one JSON document a line. */
export type WatcherMessage =
  /** `mark` is in the names of the keeper's gdbstub sockets. */
  | { readonly keeper: number; readonly mark: string; readonly journal: string | null }
  | { readonly pausing: number; readonly guest: Resumable }
  | { readonly over: number }
  | { readonly lost: number };

/** In the built program: Node 20 does not run TypeScript. Where the program is one file, that is the watcher too. */
const MAIN = fileURLToPath(BUNDLE ? import.meta.url : new URL("pause-watcher-main.js", import.meta.url));
const MAIN_ARGUMENTS = BUNDLE ? [BUNDLE.pauseWatcherWord] : [];
/** It needs next to no memory of its own; what is left is Node. */
const NODE_OPTIONS = ["--max-old-space-size=32", "--max-semi-space-size=1"];
/** One that has ended is not started again more often. */
const RESTART_MS = 60_000;

export class PauseWatcher implements PauseWitness {
  readonly #options: PauseWatcherOptions;
  #child: ChildProcess | undefined;
  #startedAt = Number.NEGATIVE_INFINITY;
  #next = 1;
  #open = new Map<number, Resumable>();

  constructor(options: PauseWatcherOptions) {
    this.#options = options;
  }

  /** Whether there is a program to start: not where this runs from its sources. */
  static get isBuilt(): boolean {
    return existsSync(MAIN);
  }

  /** The watcher's process number; undefined where it does not run. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  ready(): void {
    if (this.#child || performance.now() - this.#startedAt < RESTART_MS) return;
    this.#startedAt = performance.now();
    const { NODE_OPTIONS: _, ...env } = process.env;
    const main = this.#options.main === undefined ? [MAIN, ...MAIN_ARGUMENTS] : [this.#options.main];
    const child = spawn(process.execPath, [...NODE_OPTIONS, ...main], {
      // Its words go where ours go; a directory that it would hold is none of its business.
      stdio: ["pipe", "ignore", "inherit"],
      detached: true,
      cwd: "/",
      env,
    });
    this.#child = child;
    child.unref();
    if (child.stdin instanceof Socket) child.stdin.unref();
    child.stdin?.on("error", () => undefined);
    const ended = (how: string): void => {
      if (this.#child !== child) return;
      this.#child = undefined;
      this.#options.say(
        `The process that watches over pauses ended (${how}): until it is started again, a keeper that is killed within a pause leaves the guest paused, and "cont" on its monitor resumes it`,
      );
    };
    child.once("error", (error) => ended(error.message));
    child.once("exit", (code, signal) => ended(signal ?? `exit code ${code}`));
    this.#send({ keeper: process.pid, mark: ownMark(), journal: this.#options.journalFile ?? null });
    // Those that are open already, of one that has ended.
    for (const [pausing, guest] of this.#open) this.#send({ pausing, guest });
  }

  pausing(guest: Resumable): OpenPause {
    const id = this.#next++;
    this.#open.set(id, guest);
    this.#send({ pausing: id, guest });
    const end = (message: WatcherMessage): void => {
      if (this.#open.delete(id)) this.#send(message);
    };
    return { over: () => end({ over: id }), lost: () => end({ lost: id }) };
  }

  /** Ends the watcher, which lets no guest run that it should not. */
  async close(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child || hasExited(child)) return;
    await new Promise<void>((done) => {
      child.once("exit", () => done());
      child.stdin?.end();
    });
  }

  /**
   * A pipe that has room takes a line within this call (libuv tries write(2) at once), so that it is told before the
   * guest is stopped; one whose reader hangs is not waited for.
   */
  #send(message: WatcherMessage): void {
    this.#child?.stdin?.write(`${JSON.stringify(message)}\n`);
  }
}
