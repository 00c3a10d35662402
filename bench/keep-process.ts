/** `keep --json` as a process of its own, and what it tells. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import * as v from "valibot";
import { RangeSet } from "../src/layout/range-set.ts";
import { hasExited } from "../src/targets/child.ts";

/** An interrupted keeper ends with this. */
const INTERRUPTED = 130;

const RangesSchema = v.pipe(
  v.array(v.object({ start: v.string(), end: v.string() })),
  v.transform((ranges) =>
    RangeSet.of(ranges.map(({ start, end }) => ({ start: BigInt(start), end: BigInt(end) }))),
  ),
);
const LineSchema = v.variant("event", [
  v.object({
    event: v.literal("installed"),
    target: v.string(),
    before: v.object({ memory: v.object({ missing: RangesSchema, stale: RangesSchema }) }),
    installed: v.object({ pauseMicroseconds: v.nullable(v.number()) }),
  }),
  v.object({
    event: v.literal("verdict"),
    target: v.string(),
    audit: v.object({ verdict: v.string() }),
  }),
  v.object({ event: v.literal("found"), target: v.string() }),
  v.object({ event: v.literal("failed"), target: v.string(), error: v.string() }),
  v.object({
    event: v.picklist(["unreachable", "gone", "resumed"]),
    target: v.string(),
    reason: v.string(),
  }),
]);

/** One header that was installed. */
export interface Install {
  readonly target: string;
  /** Memory that the header had not, and that it had though it was gone. */
  readonly missing: RangeSet;
  readonly stale: RangeSet;
  readonly pauseMs: number | undefined;
}

/** A keeper that is under way. Dispose of it. */
export class KeepProcess implements AsyncDisposable {
  readonly installs: Install[] = [];
  /** Targets that were found to be accurate. */
  readonly accurate: Set<string> = new Set();
  /** What should not happen, in its words. */
  readonly failures: string[] = [];
  readonly #child: ChildProcessByStdio<null, Readable, null>;

  /** @param onInstall called as soon as it is told. */
  constructor(targets: readonly string[], onInstall: (install: Install) => void) {
    const program = fileURLToPath(new URL("../src/cli/main.js", import.meta.url));
    this.#child = spawn(process.execPath, [program, "keep", "--json", ...targets], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    createInterface(this.#child.stdout).on("line", (text) => {
      const line = v.parse(LineSchema, JSON.parse(text));
      const { target } = line;
      if (line.event === "installed") {
        const { pauseMicroseconds } = line.installed;
        const pauseMs = pauseMicroseconds === null ? undefined : pauseMicroseconds / 1000;
        const install = { target, ...line.before.memory, pauseMs };
        this.installs.push(install);
        onInstall(install);
      } else if (line.event === "verdict") {
        if (line.audit.verdict === "accurate") this.accurate.add(target);
      } else if (line.event === "failed") this.failures.push(`${target}: failed: ${line.error}`);
      else if (line.event !== "found") this.failures.push(`${target}: ${line.event}: ${line.reason}`);
    });
  }

  get #ended(): boolean {
    return hasExited(this.#child);
  }

  async until(done: () => boolean, limitMs: number, signal: AbortSignal): Promise<void> {
    const started = performance.now();
    while (!done()) {
      await delay(20, undefined, { signal });
      if (this.#ended) throw new Error("keep has ended");
      if (performance.now() - started > limitMs)
        throw new Error(
          `Not within ${limitMs / 1000} s: ${this.accurate.size} accurate, ${this.installs.length} installs, ${this.failures.length} failures`,
        );
    }
  }

  /** The largest resident size so far. */
  async peakMiB(): Promise<number> {
    const status = await readFile(`/proc/${this.#child.pid}/status`, "latin1");
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
  }

  /** Ends it as Ctrl-C does. @throws where it ends otherwise than it says it does. */
  async stop(): Promise<void> {
    if (!this.#ended) {
      const ended = once(this.#child, "exit");
      this.#child.kill("SIGINT");
      await ended;
    }
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== INTERRUPTED)
      throw new Error(`keep ended with ${exitCode ?? signalCode}, not with ${INTERRUPTED}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }
}
