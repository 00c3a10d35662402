/**
 * The watcher process: lets guests run whose keeper was killed while they stood still for it.
 *
 * It imports next to nothing: it is there for as long as the keeper is, and does something once in its life.
 */
import { closeSync, constants, openSync, rmdirSync, writeSync } from "node:fs";
import { connect, Socket } from "node:net";
import { dirname } from "node:path";

import type * as resumeDomainModule from "../libvirt/resume-domain.ts";
import type { Resumable } from "./pause-witness.ts";
import type { WatcherMessage } from "./pause-watcher.ts";

/** A guest is resumed within this, or not at all: whoever comes later has seen to it, or wants it to stand still. */
const LIMIT_MS = 10_000;
/** Where libvirt is away nobody else can see to it: it is away for that long where its package is replaced. */
const DOMAIN_LIMIT_MS = 600_000;
/** Between two tries to get QEMU's only place for a client: the kernel may still be closing the keeper's. */
const RETRY_MS = 20;
/** The same, after as long as it mostly takes. */
const SLOW_RETRY_MS = 500;
/** How long QEMU may take to see that the keeper's gdb connection has ended. */
const STUB_MS = 1000;

const open = new Map<number, Resumable>();
let keeper = 0;
let mark = "";
let journal: string | null = null;

// The keeper ends its pause before it ends; this process ends when it has.
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, () => undefined);
process.stderr.on("error", () => undefined);

let text = "";
const pipe = new Socket({ fd: 0, readable: true, writable: false });
pipe.setEncoding("utf8");
pipe.on("data", (chunk: string) => {
  text += chunk;
  for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n")) {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the keeper wrote it
    take(JSON.parse(text.slice(0, end)) as WatcherMessage);
    text = text.slice(end + 1);
  }
});
pipe.on("error", () => undefined);
pipe.on("close", () => {
  for (const guest of open.values()) void resume(guest, true);
});

function take(message: WatcherMessage): void {
  if ("keeper" in message) ({ keeper, mark, journal } = message);
  else if ("pausing" in message) {
    open.set(message.pausing, message.guest);
    // What is needed for libvirt is read as soon as there is a guest of its, and not when one stands still.
    if ("domain" in message.guest) void forDomains();
  } else if ("over" in message) open.delete(message.over);
  else {
    const guest = open.get(message.lost);
    open.delete(message.lost);
    if (guest) void resume(guest, false);
  }
}

/** @param alone whether the keeper has ended: then nobody else writes its journal. */
async function resume(guest: Resumable, alone: boolean): Promise<void> {
  const { target } = guest;
  const begun = performance.now();
  const end = begun + ("qmp" in guest ? LIMIT_MS : DOMAIN_LIMIT_MS);
  const what = alone ? `Process ${keeper} ended` : `Process ${keeper} lost its connection`;
  for (;;) {
    try {
      const done = "qmp" in guest ? await tryToResume(guest.qmp, end) : await tryDomain(guest, end);
      if (done) tell(target, `${what} while ${target} stood still for it; the guest runs again`, alone);
      return;
    } catch (error) {
      const code = error instanceof Error && "code" in error ? String(error.code) : "";
      // Its QEMU has ended.
      if (code === "ENOENT" || code === "ECONNREFUSED") return;
      const retryMs = performance.now() < begun + LIMIT_MS ? RETRY_MS : SLOW_RETRY_MS;
      if (performance.now() + retryMs < end) {
        await delay(retryMs);
        continue;
      }
      const reason = error instanceof Error ? error.message : String(error);
      say(
        `${what} while ${target} stood still for it, and it could not be resumed (${reason}): ${"qmp" in guest ? 'say "cont" on its monitor' : '"virsh resume" does so once libvirt answers'}`,
      );
      return;
    }
  }
}

/** @returns whether the guest was paused, and runs now. */
async function tryToResume(path: string, end: number): Promise<boolean> {
  const monitor = await Monitor.connect(path, end);
  try {
    await monitor.execute("qmp_capabilities");
    const wasPaused = await letRunIfPaused(monitor);
    // A connection of ours to the stub that QEMU accepts only now stops the guest once more.
    if (await closeStub(monitor)) await letRunIfPaused(monitor);
    return wasPaused;
  } finally {
    monitor.close();
  }
}

async function forDomains(): Promise<typeof resumeDomainModule> {
  return await import("../libvirt/resume-domain.ts");
}

async function tryDomain(guest: Extract<Resumable, { domain: string }>, end: number): Promise<boolean> {
  return await (await forDomains()).resumeDomain(guest, end);
}

/** Any other state than `paused` is not of our making. */
async function letRunIfPaused(monitor: Monitor): Promise<boolean> {
  const status = await monitor.execute("query-status");
  if (!(isObject(status) && status["status"] === "paused")) return false;
  await monitor.execute("cont");
  return true;
}

/**
 * Closes the gdbstub that the keeper has left open, once QEMU has seen that nobody is connected to it.
 *
 * @returns whether there was one.
 */
async function closeStub(monitor: Monitor): Promise<boolean> {
  const ours = new RegExp(`^(disconnected:)?unix:(.*/kdump-hotplug-memory-${mark}-[A-Za-z0-9]{6}/gdb),`);
  for (const end = performance.now() + STUB_MS; performance.now() < end; await delay(RETRY_MS)) {
    const list = await monitor.execute("query-chardev");
    const stub = Array.isArray(list)
      ? list.find((each: unknown) => isObject(each) && each["label"] === "gdb")
      : undefined;
    const name = isObject(stub) ? stub["filename"] : undefined;
    const [, free, socket] = (typeof name === "string" && ours.exec(name)) || [];
    if (socket === undefined) return false;
    if (free === undefined) continue;
    await monitor.execute("human-monitor-command", { "command-line": "gdbserver none" });
    try {
      rmdirSync(dirname(socket));
    } catch {
      // Not empty, or gone: nothing of ours.
    }
    return true;
  }
  return true;
}

/** Enough of QMP for a few commands, one after the other. */
class Monitor {
  readonly #socket: Socket;
  readonly #end: number;
  #text = "";
  #wake: (() => void) | undefined;
  #broken: Error | undefined;

  private constructor(socket: Socket, end: number) {
    this.#socket = socket;
    this.#end = end;
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      this.#text += chunk;
      this.#wake?.();
    });
    socket.on("error", (error) => this.#break(error));
    socket.on("close", () => this.#break(new Error("QEMU closed the connection")));
  }

  /** Connects, and waits for the greeting: it comes when QEMU has let go of its last client. */
  static async connect(path: string, end: number): Promise<Monitor> {
    const monitor = new Monitor(connect({ path }), end);
    try {
      await monitor.#message((message) => "QMP" in message);
      return monitor;
    } catch (error) {
      monitor.close();
      throw error;
    }
  }

  async execute(command: string, args: Readonly<Record<string, string>> = {}): Promise<unknown> {
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    const reply = await this.#message((message) => "return" in message || "error" in message);
    if ("error" in reply) throw new Error(`QEMU refused "${command}": ${JSON.stringify(reply["error"])}`);
    return reply["return"];
  }

  close(): void {
    this.#socket.destroy();
  }

  /** The next message that is wanted; events and the like are passed over. */
  async #message(
    wanted: (message: Readonly<Record<string, unknown>>) => boolean,
  ): Promise<Readonly<Record<string, unknown>>> {
    for (;;) {
      for (let at = this.#text.indexOf("\n"); at !== -1; at = this.#text.indexOf("\n")) {
        const message: unknown = JSON.parse(this.#text.slice(0, at));
        this.#text = this.#text.slice(at + 1);
        if (isObject(message) && wanted(message)) return message;
      }
      if (this.#broken) throw this.#broken;
      const left = this.#end - performance.now();
      if (left <= 0) throw new Error("QEMU does not answer, or another client holds its monitor");
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = undefined;
    }
  }

  #break(error: Error): void {
    this.#broken ??= error;
    this.#wake?.();
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

async function delay(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

/** On stderr, and in the journal of a keeper that cannot write it any more (keeper/journal/entry.ts). */
function tell(target: string, reason: string, alone: boolean): void {
  say(reason);
  if (!alone || journal === null) return;
  const entry = {
    schemaVersion: 1,
    writer: `watcher.${process.pid}`,
    seq: 0,
    at: new Date().toISOString(),
    up: 0,
    entry: "resumed",
    target,
    reason,
  };
  try {
    // The keeper may have died within a line.
    const file = openSync(journal, constants.O_WRONLY | constants.O_APPEND);
    writeSync(file, `\n${JSON.stringify(entry)}\n`);
    closeSync(file);
  } catch (error) {
    say(`Journal "${journal}" cannot be written (${error instanceof Error ? error.message : String(error)})`);
  }
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
