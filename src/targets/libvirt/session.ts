/**
 * A way to QEMU's monitor through libvirt, which owns the socket of its guests: commands by `virsh qemu-monitor-command`,
 * events by `virsh qemu-monitor-event`.
 */
import { setTimeout as delay } from "node:timers/promises";

import { EventHub } from "../qemu/event-hub.ts";
import type { QemuProcess } from "../qemu/qemu-process.ts";
import {
  closedDuring,
  QmpClosedError,
  QmpCommandError,
  QmpProtocolError,
  QmpReplyError,
  withCallSite,
} from "../qemu/qmp-errors.ts";
import type { Resumable } from "../qemu/pause-witness.ts";
import { stringifyQmp } from "../qemu/qmp-json.ts";
import { decodeMessage, type QmpEvent } from "../qemu/qmp-message.ts";
import type { QmpSession, QmpWaitOptions } from "../qemu/qmp-session.ts";
import { findDomain, findDomainProcess, type RunningDomain } from "./domain.ts";
import { virshEnvironment } from "./environment.ts";
import { isGone, LibvirtCommandError, meaningOf, VirshEndedError, VirshRefusal } from "./error.ts";
import { isDeviceAdded, parseEventLine } from "./event-line.ts";
import { EventReader } from "./event-reader.ts";
import { whyNot } from "./list.ts";
import { runVirsh } from "./run.ts";
import { VirshShell } from "./shell.ts";
import { plainJson, virshLine } from "./words.ts";

export interface LibvirtConnectOptions {
  /** Limit for each step of the connection, milliseconds; 5 s unless told. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Ours unless told: it says which libvirt is meant. */
  readonly env?: NodeJS.ProcessEnv;
}

const CONNECT_TIMEOUT_MS = 5000;
const COMMAND_TIMEOUT_MS = 10_000;
/** A libvirtd that is started again is back after a second or two; a guest that stands still is worth the wait. */
const RESUME_RETRY_MS = 10_000;
const RETRY_PAUSE_MS = 200;

/**
 * Commands that are not given to QEMU behind libvirt's back. It follows STOP and RESUME by QEMU's events, but at a STOP it
 * gives the leases of the guest's disks back where it has a lock manager (qemu_process.c, qemuProcessHandleStop), and
 * only its own resume takes them again (qemuProcessStartCPUs).
 */
const LIBVIRTS_OWN: ReadonlyMap<string, string> = new Map([
  ["stop", "suspend"],
  ["cont", "resume"],
]);

/** One domain, as long as it runs. Three virsh processes; close it. */
export class LibvirtSession implements QmpSession {
  readonly domain: RunningDomain;
  readonly closed: Promise<QmpClosedError>;
  readonly resumable: Resumable;
  /** Events come through another process than replies. */
  readonly eventsInOrder = false;
  /** A question keeps four processes busy, and of what is added through libvirt that sends an event. */
  readonly pollMs = 1000;

  readonly #shell: VirshShell;
  readonly #readers: readonly EventReader[];
  readonly #events: EventHub;
  readonly #virshEnv: NodeJS.ProcessEnv;
  #reason: QmpClosedError | undefined;
  #settleClosed: (reason: QmpClosedError) => void = () => {};
  /** The domain has ended, or we wanted it so: then there is nobody to resume. */
  #isOver = false;

  private constructor(
    domain: RunningDomain,
    shell: VirshShell,
    readers: readonly EventReader[],
    events: EventHub,
    virshEnv: NodeJS.ProcessEnv,
  ) {
    this.domain = domain;
    this.resumable = { target: `libvirt:${domain.name}`, domain: domain.id, virsh: shell.pid ?? 0 };
    this.#shell = shell;
    this.#readers = readers;
    this.#events = events;
    this.#virshEnv = virshEnv;
    this.closed = new Promise((resolve) => {
      this.#settleClosed = resolve;
    });
    for (const each of [shell, ...readers])
      void each.ended.then(({ message }) =>
        this.#end(new QmpClosedError(`Session to domain "${domain.name}" has ended: ${message}`)),
      );
  }

  /**
   * Connects to the domain `wanted`, a name or a UUID. It is not stopped or changed.
   *
   * @throws {LibvirtError} with its `kind`, where there is nothing to connect to; the signal's reason.
   */
  static async open(wanted: string, options: LibvirtConnectOptions = {}): Promise<LibvirtSession> {
    const { timeoutMs = CONNECT_TIMEOUT_MS, env = process.env, signal } = options;
    signal?.throwIfAborted();
    const virshEnv = virshEnvironment(env);
    const shell = VirshShell.start(virshEnv);
    const onAbort = (): void => void shell.close();
    signal?.addEventListener("abort", onAbort, { once: true });
    let readers: readonly EventReader[] = [];
    try {
      const domain = await findDomain(shell, wanted, timeoutMs, env);
      const events = new EventHub(`Domain "${domain.name}"`);
      readers = await startReaders(domain, events, virshEnv, timeoutMs);
      const session = new LibvirtSession(domain, shell, readers, events, virshEnv);
      signal?.throwIfAborted();
      return session;
    } catch (error) {
      await Promise.all([shell, ...readers].map(async (each) => await each.close()));
      signal?.throwIfAborted();
      throw whyNot(error, wanted);
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  get isOpen(): boolean {
    return this.#reason === undefined;
  }

  async qemuProcesses(proc?: string): Promise<readonly QemuProcess[]> {
    return await findDomainProcess(this.domain, proc);
  }

  async execute<T = unknown>(
    command: string,
    args: Readonly<Record<string, unknown>> = {},
    options: QmpWaitOptions = {},
  ): Promise<T> {
    const at = new Error("call site");
    try {
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- T is what the caller goes on to validate
      return (await this.#run(command, args, options.timeoutMs ?? COMMAND_TIMEOUT_MS)) as T;
    } catch (error) {
      throw error instanceof Error ? withCallSite(error, at) : error;
    }
  }

  async #run(command: string, args: Readonly<Record<string, unknown>>, timeoutMs: number): Promise<unknown> {
    const own = LIBVIRTS_OWN.get(command);
    if (own !== undefined) {
      await this.#runOwn(command, own, timeoutMs);
      return {};
    }
    const json = plainJson(stringifyQmp({ execute: command, arguments: args }));
    const line = virshLine("qemu-monitor-command", this.domain.id, json);
    return this.#resultOf(command, await this.#ask(command, line, "line", timeoutMs));
  }

  /**
   * A command of libvirt's own. Where our virsh, or libvirt itself, goes away meanwhile, the guest is resumed by another
   * one: it stands still because of us, or is about to.
   */
  async #runOwn(command: string, own: string, timeoutMs: number): Promise<void> {
    const wasOpen = this.isOpen;
    try {
      await this.#ask(command, virshLine(own, this.domain.id), "nothing", timeoutMs);
    } catch (error) {
      if (!(error instanceof QmpClosedError) || this.#isOver) throw error;
      // What was not sent has stopped nothing.
      if (command === "cont" || wasOpen) await this.#resumeAnyhow(RESUME_RETRY_MS, error);
      if (command !== "cont") throw error;
    }
  }

  async #resumeAnyhow(limitMs: number, cause: QmpClosedError): Promise<void> {
    const deadline = performance.now() + limitMs;
    for (;;) {
      try {
        const left = Math.max(RETRY_PAUSE_MS, deadline - performance.now());
        await runVirsh(["resume", this.domain.id], { env: this.#virshEnv, timeoutMs: left });
        return;
      } catch (error) {
        const words = error instanceof Error ? error.message : String(error);
        const gone = error instanceof VirshRefusal && isGone(words);
        if (gone || performance.now() > deadline) {
          throw new QmpClosedError(
            `${cause.message}; it could not be resumed${gone ? "" : `, "virsh resume ${this.domain.name}" does so once libvirt answers`}: ${words}`,
            { cause },
          );
        }
      }
      await delay(RETRY_PAUSE_MS);
    }
  }

  async #ask(
    command: string,
    line: string,
    expected: "line" | "nothing",
    timeoutMs: number,
  ): Promise<string> {
    if (this.#reason !== undefined) throw closedDuring(`"${command}" was not sent`, this.#reason);
    try {
      return await this.#shell.ask(line, expected, timeoutMs);
    } catch (error) {
      if (error instanceof VirshEndedError) {
        const reason =
          this.#reason ??
          new QmpClosedError(`Session to domain "${this.domain.name}" has ended: ${error.message}`);
        throw closedDuring(`"${command}" was not answered`, reason);
      }
      if (!(error instanceof VirshRefusal)) throw error;
      const meaning = meaningOf(error.message);
      if (isGone(error.message)) {
        this.#isOver = true;
        this.#end(
          new QmpClosedError(`Domain "${this.domain.name}" has ended (virsh says: ${error.message})`),
        );
      } else if (meaning === "away") {
        this.#end(new QmpClosedError(`libvirt has gone away (virsh says: ${error.message})`));
      }
      if (this.#reason === undefined) throw new LibvirtCommandError(command, error.message);
      throw closedDuring(`"${command}" was not answered`, this.#reason);
    }
  }

  #resultOf(command: string, line: string): unknown {
    let message: ReturnType<typeof decodeMessage>;
    try {
      message = decodeMessage(line);
    } catch (error) {
      if (!(error instanceof QmpProtocolError)) throw error;
      const cause = new QmpProtocolError(`${error.message}: ${JSON.stringify(line.slice(0, 80))}`, {
        cause: error,
      });
      this.#end(
        new QmpClosedError(`virsh answered "${command}" with what is no QMP (${cause.message})`, { cause }),
      );
      throw this.#reason;
    }
    if (message.kind === "result") return message.value;
    if (message.kind === "error") throw new QmpCommandError(command, message.class, message.desc);
    throw new QmpReplyError(command, `it is a ${message.kind}`);
  }

  onEvent(listener: (event: QmpEvent) => void): () => void {
    return this.#events.listen(listener);
  }

  waitForEvent(
    wanted: string | ((event: QmpEvent) => boolean),
    options: QmpWaitOptions = {},
  ): Promise<QmpEvent> {
    return this.#events.wait(wanted, options.timeoutMs ?? COMMAND_TIMEOUT_MS);
  }

  /** A line of virsh that is no command to QEMU: `attach-device` and the like. @throws as `execute` does. */
  async virsh(words: readonly string[], timeoutMs: number = COMMAND_TIMEOUT_MS): Promise<void> {
    await this.#ask(words[0] ?? "", virshLine(...words), "nothing", timeoutMs);
  }

  async close(): Promise<void> {
    this.#isOver = true;
    this.#end(new QmpClosedError(`We closed the session to domain "${this.domain.name}"`));
    await this.#endAll();
  }

  leave(): void {
    if (this.#reason !== undefined) return;
    this.#isOver = true;
    this.#shell.leave();
    this.#end(
      new QmpClosedError(`We left the session to domain "${this.domain.name}", which does not answer`),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #end(reason: QmpClosedError): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#settleClosed(reason);
    this.#events.end(reason);
    // One without the others is no use; a virsh that was left goes on.
    void this.#endAll();
  }

  async #endAll(): Promise<void> {
    await Promise.all([this.#shell, ...this.#readers].map(async (each) => await each.close()));
  }
}

/** What QEMU says when a device was added; it says nothing, so the name is ours. */
const ADDED = "DEVICE_ADDED";

/** One that reads QEMU's events, and one that hears of devices that libvirt adds. */
async function startReaders(
  { id, name }: RunningDomain,
  events: EventHub,
  env: NodeJS.ProcessEnv,
  timeoutMs: number,
): Promise<readonly EventReader[]> {
  const qemu = {
    command: ["qemu-monitor-event", "--loop"],
    onLine: (line: string): void => {
      const event = parseEventLine(line, name);
      if (event !== undefined) events.deliver(event);
    },
  };
  const libvirt = {
    command: ["event", "--loop", "--event", "device-added"],
    onLine: (line: string): void => {
      if (!isDeviceAdded(line)) return;
      const ms = Date.now();
      const timestamp = { seconds: Math.floor(ms / 1000), microseconds: (ms % 1000) * 1000 };
      events.deliver({ event: ADDED, data: {}, timestamp });
    },
  };
  const starting = [qemu, libvirt].map(
    async (reader) => await EventReader.start({ id, env, timeoutMs, ...reader }),
  );
  try {
    return await Promise.all(starting);
  } catch (error) {
    for (const reader of await Promise.allSettled(starting))
      if (reader.status === "fulfilled") await reader.value.close();
    throw error;
  }
}
