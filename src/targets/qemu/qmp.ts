/** A QMP session: commands and their replies by id, events kept apart. */
import { spawn } from "node:child_process";
import type { Socket } from "node:net";
import { resolve as absolute } from "node:path";

import { EventHub } from "./event-hub.ts";
import { LineError, LineParser } from "./line-parser.ts";
import type { Resumable } from "./pause-witness.ts";
import {
  closedDuring,
  QmpClosedError,
  QmpCommandError,
  QmpConnectError,
  QmpError,
  QmpProtocolError,
  QmpTimeoutError,
  withCallSite,
} from "./qmp-errors.ts";
import { stringifyQmp } from "./qmp-json.ts";
import { decodeMessage, type QmpEvent, type QmpMessage } from "./qmp-message.ts";
import type { QmpSession, QmpWaitOptions } from "./qmp-session.ts";
import { findQemuProcesses, type QemuProcess } from "./qemu-process.ts";
import { busySentence, openUnixSocket } from "./unix-socket.ts";

export type { QmpEvent } from "./qmp-message.ts";

export interface QmpConnectOptions {
  /** Limit for the greeting and again for the negotiation, milliseconds; 1500 unless told. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** A busy socket must be named within 2 s; an idle QEMU greets within a few milliseconds. */
const GREETING_TIMEOUT_MS = 1500;
const COMMAND_TIMEOUT_MS = 10_000;
/** How long a QEMU that does not answer is given to read what was sent, after we have gone. */
const HOLD_SECONDS = 3600;

interface PendingCommand {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** One connection to QEMU's monitor. QEMU serves one client per socket: close it when done. */
export class QmpClient implements QmpSession {
  readonly eventsInOrder = true;
  /** One question takes 0.1 to 0.3 ms. */
  readonly pollMs = 8;
  /** The socket's path. */
  readonly path: string;
  readonly resumable: Resumable;
  /** Settles when the connection has ended, with the reason. Never rejects. */
  readonly closed: Promise<QmpClosedError>;

  readonly #socket: Socket;
  readonly #lines: LineParser = new LineParser();
  readonly #pending = new Map<number, PendingCommand>();
  readonly #events: EventHub;
  #nextId = 1;
  #reason: QmpClosedError | undefined;
  #greeted: (() => void) | undefined;
  #settleClosed: (reason: QmpClosedError) => void = () => {};

  private constructor(path: string, socket: Socket) {
    this.path = path;
    this.resumable = { target: `qmp:${path}`, qmp: absolute(path) };
    this.#socket = socket;
    this.#events = new EventHub(`QEMU at "${path}"`);
    this.closed = new Promise((resolve) => {
      this.#settleClosed = resolve;
    });
    socket.on("data", (bytes: Uint8Array) => this.#receive(bytes));
    socket.on("error", (error) => {
      this.#end(
        new QmpClosedError(`Connection to QEMU at "${path}" broke: ${error.message}`, { cause: error }),
      );
    });
    socket.on("close", () => {
      this.#end(new QmpClosedError(`QEMU closed the connection at "${path}": it has ended or was killed`));
    });
  }

  /**
   * Connects, waits for the greeting and leaves negotiation mode.
   *
   * @throws {QmpConnectError} with its `kind`, within 2 s for a socket that another client holds.
   * @throws {QmpTimeoutError} where the greeting came and the negotiation's reply did not.
   * @throws {QmpClosedError} where the peer ended after its greeting.
   */
  static async connect(path: string, options: QmpConnectOptions = {}): Promise<QmpClient> {
    const timeoutMs = options.timeoutMs ?? GREETING_TIMEOUT_MS;
    const socket = await openUnixSocket(path, timeoutMs, options.signal);
    const client = new QmpClient(path, socket);
    const onAbort = (): void => {
      socket.destroy();
    };
    options.signal?.addEventListener("abort", onAbort, { once: true });
    let greeted = false;
    try {
      await client.#greeting(timeoutMs);
      greeted = true;
      await client.execute("qmp_capabilities", {}, { timeoutMs });
      return client;
    } catch (error) {
      socket.destroy();
      options.signal?.throwIfAborted();
      if (!(error instanceof QmpClosedError)) throw error;
      const broke = error.cause instanceof QmpProtocolError ? error.cause : undefined;
      // Who has greeted speaks QMP: it has ended since.
      if (greeted && broke === undefined) throw error;
      const found = broke?.message ?? "it closed the connection";
      throw new QmpConnectError(
        "not-qmp",
        path,
        `"${path}" does not speak QMP (${found}): give the path of QEMU's -qmp socket`,
        { cause: error },
      );
    } finally {
      options.signal?.removeEventListener("abort", onAbort);
    }
  }

  /** True until the connection has ended. */
  get isOpen(): boolean {
    return this.#reason === undefined;
  }

  async qemuProcesses(proc?: string): Promise<readonly QemuProcess[]> {
    return await findQemuProcesses(this.path, proc);
  }

  execute<T = unknown>(
    command: string,
    args: Readonly<Record<string, unknown>> = {},
    options: QmpWaitOptions = {},
  ): Promise<T> {
    const at = new Error("call site");
    const timeoutMs = options.timeoutMs ?? COMMAND_TIMEOUT_MS;
    return new Promise<T>((resolve, reject) => {
      if (this.#reason !== undefined) {
        reject(withCallSite(closedDuring(`"${command}" was not sent`, this.#reason), at));
        return;
      }
      const id = this.#nextId++;
      const line = `${stringifyQmp({ execute: command, arguments: args, id })}\n`;
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        const sentence = `QEMU at "${this.path}" did not answer "${command}" within ${timeoutMs} ms: it hangs or is very busy`;
        reject(withCallSite(new QmpTimeoutError(sentence, timeoutMs), at));
      }, timeoutMs);
      this.#pending.set(id, {
        command,
        resolve: (value) => {
          clearTimeout(timer);
          // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- T is what the caller goes on to validate
          resolve(value as T);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(withCallSite(error, at));
        },
      });
      this.#socket.write(line);
    });
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

  async close(): Promise<void> {
    this.#end(new QmpClosedError(`We closed the connection to QEMU at "${this.path}"`));
    if (this.#socket.closed) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => this.#socket.destroy(), 1000);
      this.#socket.once("close", () => {
        clearTimeout(timer);
        resolve();
      });
      this.#socket.destroySoon();
    });
  }

  /**
   * Ends the connection to a QEMU that does not answer, but so that it still runs what was sent, once it does again.
   *
   * QEMU drops commands that it has not begun when it finds the connection closed from both sides (observed on
   * 10.0.2: of 8 `cont` behind a `stop` 2 were lost, none of 8 where only our side was closed). Our process may end,
   * so a child holds the other side: until QEMU closes it, at most an hour.
   */
  leave(): void {
    if (this.#reason !== undefined) return;
    const holder = spawn("timeout", [String(HOLD_SECONDS), "cat"], {
      stdio: [this.#socket, "ignore", "ignore"],
      detached: true,
    });
    holder.on("error", () => undefined);
    holder.unref();
    this.#end(new QmpClosedError(`We left the connection to QEMU at "${this.path}", which does not answer`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #greeting(timeoutMs: number): Promise<void> {
    const at = new Error("call site");
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const silent = this.#socket.bytesRead === 0;
        const sentence = silent
          ? busySentence(this.path)
          : `"${this.path}" does not speak QMP (it sent ${this.#socket.bytesRead} bytes and no greeting): give the path of QEMU's -qmp socket`;
        reject(withCallSite(new QmpConnectError(silent ? "busy" : "not-qmp", this.path, sentence), at));
      }, timeoutMs);
      this.#greeted = () => {
        clearTimeout(timer);
        this.#greeted = undefined;
        resolve();
      };
      void this.closed.then((reason) => {
        clearTimeout(timer);
        reject(withCallSite(closedDuring("no greeting had come", reason), at));
      });
    });
  }

  #receive(bytes: Uint8Array): void {
    if (this.#reason !== undefined) return;
    try {
      this.#lines.append(bytes);
      for (;;) {
        const line = this.#lines.tryRead();
        if (line === undefined || this.#reason !== undefined) return;
        if (line !== "") this.#message(decodeMessage(line));
      }
    } catch (error) {
      if (!(error instanceof QmpError || error instanceof LineError)) throw error;
      const cause =
        error instanceof QmpProtocolError ? error : new QmpProtocolError(error.message, { cause: error });
      this.#end(
        new QmpClosedError(
          `Peer at "${this.path}" broke the QMP protocol (${cause.message}); connection closed`,
          { cause },
        ),
      );
    }
  }

  #message(message: QmpMessage): void {
    if (this.#greeted !== undefined) {
      if (message.kind !== "greeting") throw new QmpProtocolError("First message is not a QMP greeting");
      this.#greeted();
    } else if (message.kind === "event") {
      this.#events.deliver(message.event);
    } else if (message.kind === "greeting") {
      throw new QmpProtocolError("A second greeting came");
    } else {
      this.#reply(message);
    }
  }

  #reply(message: QmpMessage & { readonly kind: "result" | "error" }): void {
    const { id } = message;
    if (typeof id !== "number" || !Number.isInteger(id) || id < 1 || id >= this.#nextId) {
      const desc = message.kind === "error" ? `: ${message.desc}` : "";
      throw new QmpProtocolError(`Reply to a command that was never sent${desc}`);
    }
    const pending = this.#pending.get(id);
    // Its caller has given up waiting.
    if (pending === undefined) return;
    this.#pending.delete(id);
    if (message.kind === "result") pending.resolve(message.value);
    else pending.reject(new QmpCommandError(pending.command, message.class, message.desc));
  }

  #end(reason: QmpClosedError): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#settleClosed(reason);
    for (const pending of this.#pending.values()) {
      pending.reject(closedDuring(`"${pending.command}" was not answered`, reason));
    }
    this.#pending.clear();
    this.#events.end(reason);
    this.#socket.destroySoon();
  }
}
