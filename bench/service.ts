/**
 * A service with many guests: what it costs where nothing happens, and how soon headers are true where much does.
 *
 * The guests are simulated machines behind QMP sockets and gdbstubs of their own, in another process, so that all of the
 * protocol is paid for and none of the guests' own time. Two things are easier than with real ones: images are small
 * (0.4 MiB to hash, where real ones have 20 to 100), and where crash memory lies is told, so that the first look need not
 * read all RAM.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Keeper } from "../src/keeper/keeper.ts";
import type { ServiceEvent } from "../src/keeper/service-event.ts";
import { Service } from "../src/keeper/service/service.ts";
import { RangeSet } from "../src/layout/range-set.ts";
import { crashMemory } from "../src/simulation/blueprint.ts";
import { buildMachine, parseSpec } from "../src/simulation/spec.ts";
import { QemuMachine } from "../src/targets/qemu/machine.ts";
import { socketSource } from "../src/targets/qemu/socket-source.ts";
import { nodeSha256 } from "../src/targets/sha256.ts";
import type { GuestsReply, GuestsRequest } from "./service-guests.ts";
import { type Measurement, measured } from "./stats.ts";

const SPEC = "6.1,ram=209M,crash=16M,possible=2";
const IDLE_GUESTS = 1000;
const IDLE_SECONDS = 60;
const BUSY_GUESTS = 100;
const DIMMS = 240;
const BUSY_SECONDS = 60;

/** Rows for the table, and what does not fit into it. */
export interface ServiceBench {
  readonly measurements: readonly Measurement[];
  readonly lines: readonly string[];
}

/** How many guests, and how many DIMMs each of the busy ones gets. */
export interface ServiceSize {
  readonly idle: number;
  readonly busy: number;
  readonly dimms: number;
}

const ASKED: ServiceSize = { idle: IDLE_GUESTS, busy: BUSY_GUESTS, dimms: DIMMS };

/** Measures both. */
export async function benchService(
  log: (line: string) => void,
  signal: AbortSignal,
  { idle, busy, dimms }: ServiceSize = ASKED,
): Promise<ServiceBench> {
  const lines = idle === 0 ? [] : await benchIdle(idle, log, signal);
  const { measurement, lines: more } = await benchBusy(busy, dimms, log, signal);
  return { measurements: [measurement], lines: [...lines, ...more] };
}

async function benchIdle(
  count: number,
  log: (line: string) => void,
  signal: AbortSignal,
): Promise<readonly string[]> {
  await using host = await Host.start(count, log, signal);
  const before = process.memoryUsage().rss;
  await host.keepAll();
  await delay(5000, undefined, { signal });
  const used = process.cpuUsage();
  const started = performance.now();
  await delay(IDLE_SECONDS * 1000, undefined, { signal });
  const { user, system } = process.cpuUsage(used);
  const share = (user + system) / 10 / (performance.now() - started);
  globalThis.gc?.();
  const { rss } = process.memoryUsage();
  return [
    `${count} idle guests: ${mib(rss)} RSS (${mib(before)} before the first), ${share.toFixed(1)} % of a processor in ${IDLE_SECONDS} s; asked: 300 MiB, 5 %; load average ${loadavg()[0]!.toFixed(1)}`,
  ];
}

function mib(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(0)} MiB`;
}

async function benchBusy(
  count: number,
  dimms: number,
  log: (line: string) => void,
  signal: AbortSignal,
): Promise<{ readonly measurement: Measurement; readonly lines: readonly string[] }> {
  await using host = await Host.start(count, log, signal);
  await host.keepAll();
  const used = process.cpuUsage();
  const started = performance.now();
  const stepMs = (BUSY_SECONDS * 1000) / (dimms * count);
  for (let step = 0; step < dimms * count; step++) {
    const wait = started + step * stepMs - performance.now();
    if (wait > 1) await delay(wait, undefined, { signal });
    host.ask({ plug: step % count });
  }
  const tookMs = performance.now() - started;
  const { user, system } = process.cpuUsage(used);
  await host.until(() => host.reactions.length >= dimms * count, 60_000, signal);
  host.ask({ judge: true });
  await host.until(() => host.judged !== undefined, 60_000, signal);
  const { complete, dimms: plugged } = host.judged!;
  const name = `from a DIMM to its header, ${count} guests x ${dimms} DIMMs in ${(tookMs / 1000).toFixed(0)} s`;
  return {
    measurement: measured(name, host.reactions, { of: "p99", ms: 100 }),
    lines: [
      `${count} busy guests: ${plugged} DIMMs, ${complete} of ${count} dumps complete, ${host.installs} installs, ${host.failures} failures; ${((user + system) / 10 / tookMs).toFixed(0)} % of a processor; load average ${loadavg()[0]!.toFixed(1)}`,
    ],
  };
}

/** The guests' process, and a service that keeps them. */
class Host implements AsyncDisposable {
  readonly reactions: number[] = [];
  installs = 0;
  failures = 0;
  judged: { readonly complete: number; readonly dimms: number } | undefined;
  readonly #directory: string;
  readonly #guests: ChildProcess;
  readonly #count: number;
  readonly #service: Service;
  readonly #log: (line: string) => void;
  readonly #signal: AbortSignal;
  #accurate = new Set<string>();
  #started = 0;
  /** When each DIMM was plugged, by guest and address; those that are not described yet. */
  readonly #plugged = new Map<string, Map<bigint, number>>();
  /** What was described before the word came that it was plugged. */
  readonly #early = new Map<string, { readonly missing: RangeSet; readonly at: number }[]>();

  private constructor(directory: string, count: number, log: (line: string) => void, signal: AbortSignal) {
    this.#directory = directory;
    this.#count = count;
    this.#log = log;
    this.#signal = signal;
    const hints = { crashMemory: crashMemory(buildMachine(parseSpec(SPEC), nodeSha256).blueprint) };
    this.#service = new Service({
      open: async (target, options) => await QemuMachine.open(target.slice("qmp:".length), options),
      source: (written) => socketSource(written.slice("qmp:".length)),
      makeKeeper: (_, machine) => new Keeper(machine, nodeSha256, hints),
      listeners: [{ onEvent: (event) => this.#heard(event) }],
      onTrouble: log,
    });
    const program = fileURLToPath(new URL("service-guests.js", import.meta.url));
    this.#guests = fork(program, [directory, String(count), SPEC], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    this.#guests.on("message", (reply: GuestsReply) => this.#told(reply));
  }

  static async start(count: number, log: (line: string) => void, signal: AbortSignal): Promise<Host> {
    const directory = await mkdtemp(join(tmpdir(), "kdh-bench-"));
    const host = new Host(directory, count, log, signal);
    log(`Starting ${count} guests`);
    await host.until(() => host.#started === count, 300_000, signal);
    return host;
  }

  ask(request: GuestsRequest): void {
    this.#guests.send(request);
  }

  /** Until every guest was found to be accurate. */
  async keepAll(): Promise<void> {
    const started = performance.now();
    this.#service.keep([`qmp:${this.#directory}/*.sock`]);
    await this.until(() => this.#accurate.size === this.#count, 900_000, this.#signal);
    this.#log(`${this.#count} guests accurate after ${((performance.now() - started) / 1000).toFixed(1)} s`);
  }

  async until(done: () => boolean, limitMs: number, signal: AbortSignal): Promise<void> {
    const started = performance.now();
    while (!done()) {
      await delay(20, undefined, { signal });
      if (this.#guests.exitCode !== null) throw new Error("The guests' process has ended");
      if (performance.now() - started > limitMs)
        throw new Error(
          `Not within ${limitMs / 1000} s: ${this.#started} started, ${this.#accurate.size} accurate, ${this.reactions.length} DIMMs described, ${this.failures} failures`,
        );
    }
  }

  #heard({ target, event }: ServiceEvent): void {
    if (event.kind === "verdict") {
      if (event.audit.verdict === "accurate") this.#accurate.add(target);
    } else if (event.kind === "installed") {
      this.installs++;
      const at = performance.timeOrigin + performance.now();
      this.#described(target, event.before.missing, at);
    } else if (event.kind !== "found") {
      this.failures++;
      this.#log(`${target}: ${event.kind}: ${event.kind === "failed" ? event.error.message : event.reason}`);
    }
  }

  #told(reply: GuestsReply): void {
    if ("started" in reply) this.#started = reply.started;
    else if ("complete" in reply) this.judged = reply;
    else if ("plugged" in reply) {
      const target = `qmp:${this.#directory}/${reply.plugged}.sock`;
      const start = BigInt(reply.start);
      const early = this.#early.get(target)?.find(({ missing }) => missing.contains(start));
      if (early) this.reactions.push(Math.max(0, early.at - reply.at));
      else {
        const plugged = this.#plugged.get(target) ?? new Map<bigint, number>();
        this.#plugged.set(target, plugged.set(start, reply.at));
      }
    }
  }

  #described(target: string, missing: RangeSet, at: number): void {
    const plugged = this.#plugged.get(target) ?? new Map<bigint, number>();
    let left = missing;
    for (const [start, since] of plugged) {
      if (!missing.contains(start)) continue;
      this.reactions.push(at - since);
      plugged.delete(start);
      left = left.subtract(RangeSet.of([{ start, end: start + (128n << 20n) }]));
    }
    if (!left.isEmpty) this.#early.set(target, [...(this.#early.get(target) ?? []), { missing: left, at }]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#service.stop(3000);
    if (this.#guests.exitCode === null) {
      const ended = once(this.#guests, "exit");
      this.ask({ end: true });
      const killed = setTimeout(() => this.#guests.kill("SIGKILL"), 10_000);
      await ended;
      clearTimeout(killed);
    }
    await rm(this.#directory, { recursive: true, force: true });
  }
}
