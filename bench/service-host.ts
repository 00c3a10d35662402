/**
 * A service with many pretended guests, for whatever is measured of one.
 *
 * The guests are simulated machines behind QMP sockets and gdbstubs of their own, in another process, so that all of the
 * protocol is paid for and none of the guests' own time. Two things are easier than with real ones: images are small
 * (0.4 MiB to hash, where real ones have 20 to 100), and where crash memory lies is told, so that the first look need not
 * read all RAM.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { letHeapGrowSlowly } from "../src/cli/small-heap.ts";
import type { Journal } from "../src/keeper/journal/journal.ts";
import { Keeper } from "../src/keeper/keeper.ts";
import type { ServiceEvent, ServiceListener } from "../src/keeper/service-event.ts";
import { Service } from "../src/keeper/service/service.ts";
import { crashMemory } from "../src/simulation/blueprint.ts";
import { buildMachine, parseSpec } from "../src/simulation/spec.ts";
import { QemuMachine } from "../src/targets/qemu/machine.ts";
import { socketSource } from "../src/targets/qemu/socket-source.ts";
import { nodeSha256 } from "../src/targets/sha256.ts";
import { Reactions, wallClock } from "./reactions.ts";
import type { GuestsReply, GuestsRequest } from "./service-guests.ts";
import { hasExited } from "../src/targets/child.ts";

const SPEC = "6.1,ram=209M,crash=16M,possible=2";

/** Guests, and who keeps them. */
export interface HostOptions {
  readonly guests: number;
  readonly log: (line: string) => void;
  readonly signal: AbortSignal;
  /** Where installs are put down before they are made. */
  readonly journal?: Journal;
  /** Told of everything, beside the bench. */
  readonly listeners?: readonly ServiceListener[];
}

/** What the guests' process found of all its machines. */
export type Judged = Extract<GuestsReply, { readonly complete: number }>;

/** The guests' process, and a service that keeps them. */
export class Host implements AsyncDisposable {
  /** From a DIMM until its header; and from its removal until the header is without it. */
  readonly plugs: Reactions = new Reactions();
  readonly removals: Reactions = new Reactions();
  /** DIMMs that have come or gone. */
  changes = 0;
  installs = 0;
  failures = 0;
  readonly #directory: string;
  readonly #guests: ChildProcess;
  readonly #options: HostOptions;
  readonly #service: Service;
  readonly #accurate = new Set<string>();
  #judged: Judged | undefined;
  #started = 0;

  private constructor(directory: string, options: HostOptions) {
    const { guests, log, journal, listeners = [] } = options;
    this.#directory = directory;
    this.#options = options;
    const hints = { crashMemory: crashMemory(buildMachine(parseSpec(SPEC), nodeSha256).blueprint) };
    this.#service = new Service({
      open: async (target, opening) => await QemuMachine.open(target.slice("qmp:".length), opening),
      source: (written) => socketSource(written.slice("qmp:".length)),
      makeKeeper: (target, machine) => new Keeper(machine, nodeSha256, hints, journal?.installLog(target)),
      listeners: [{ onEvent: (event) => this.#heard(event) }, ...listeners],
      onTrouble: log,
    });
    const program = fileURLToPath(new URL("service-guests.js", import.meta.url));
    this.#guests = fork(program, [directory, String(guests), SPEC], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    this.#guests.on("message", (reply: GuestsReply) => this.#told(reply));
  }

  static async start(options: HostOptions): Promise<Host> {
    // As the program does.
    letHeapGrowSlowly();
    const directory = await mkdtemp(join(tmpdir(), "kdh-bench-"));
    const host = new Host(directory, options);
    options.log(`Starting ${options.guests} guests`);
    try {
      await host.until(() => host.#started === options.guests, 300_000);
      return host;
    } catch (error) {
      // The guests' process may have come too late for the Ctrl-C that ends this one.
      await host[Symbol.asyncDispose]();
      throw error;
    }
  }

  ask(request: GuestsRequest): void {
    this.#guests.send(request);
  }

  /** Until every guest was found to be accurate. */
  async keepAll(): Promise<void> {
    const { guests, log } = this.#options;
    const started = performance.now();
    this.#service.keep([`qmp:${this.#directory}/*.sock`]);
    await this.until(() => this.#accurate.size === guests, 900_000);
    log(`${guests} guests accurate after ${((performance.now() - started) / 1000).toFixed(1)} s`);
  }

  /** What a panic of each guest would give now. */
  async judge(): Promise<Judged> {
    this.#judged = undefined;
    this.ask({ judge: true });
    await this.until(() => this.#judged !== undefined, 60_000);
    return this.#judged!;
  }

  async until(done: () => boolean, limitMs: number): Promise<void> {
    const started = performance.now();
    while (!done()) {
      await delay(20, undefined, { signal: this.#options.signal });
      if (hasExited(this.#guests)) throw new Error("The guests' process has ended");
      if (performance.now() - started > limitMs)
        throw new Error(
          `Not within ${limitMs / 1000} s: ${this.#started} started, ${this.#accurate.size} accurate, ${this.plugs.ms.length} DIMMs described, ${this.failures} failures`,
        );
    }
  }

  #heard({ target, event }: ServiceEvent): void {
    if (event.kind === "verdict") {
      if (event.audit.verdict === "accurate") this.#accurate.add(target);
    } else if (event.kind === "installed") {
      this.installs++;
      const { installed } = event;
      const at = wallClock() - ("heldMs" in installed ? (installed.heldMs ?? 0) : 0);
      this.plugs.answered(target, event.before.missing, at);
      this.removals.answered(target, event.before.stale, at);
    } else if (event.kind !== "found") {
      this.failures++;
      const why = event.kind === "failed" ? event.error.message : event.reason;
      this.#options.log(`${target}: ${event.kind}: ${why}`);
    }
  }

  #told(reply: GuestsReply): void {
    if ("started" in reply) this.#started = reply.started;
    else if ("complete" in reply) this.#judged = reply;
    else if ("start" in reply) {
      this.changes++;
      const target = `qmp:${this.#directory}/${reply.guest}.sock`;
      const start = BigInt(reply.start);
      if (reply.change === "plugged") this.plugs.changed(target, start, reply.at);
      // What was never described need not be taken out.
      else if (!this.plugs.forget(target, start)) this.removals.changed(target, start, reply.at);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#service.stop(3000);
    if (!hasExited(this.#guests)) {
      const ended = once(this.#guests, "exit");
      // Ctrl-C is for them too: they may be gone before they are told.
      this.#guests.send({ end: true }, () => undefined);
      const killed = setTimeout(() => this.#guests.kill("SIGKILL"), 10_000);
      await ended;
      clearTimeout(killed);
    }
    await rm(this.#directory, { recursive: true, force: true });
  }
}
