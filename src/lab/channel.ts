/** The host's end of the agent's line: commands out, answers in, the guest's state as messages tell it. */
import { once } from "node:events";
import { createConnection, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { type AgentMessage, AgentParser, type AgentRole } from "./agent.ts";
import { GuestCommandError, LostGuestError } from "./errors.ts";

/** What a command in the guest gave. */
export interface CommandResult {
  readonly status: number;
  readonly output: Uint8Array;
}

interface Waiter {
  readonly wants: (message: AgentMessage) => boolean;
  readonly resolve: (message: AgentMessage) => void;
  readonly reject: (error: Error) => void;
}

/** The agent's line to one guest. One command at a time. */
export class AgentChannel implements AsyncDisposable {
  readonly #socket: Socket;
  readonly #parser = new AgentParser();
  readonly #waiters = new Set<Waiter>();
  /** Messages that nobody waited for yet; a hello may come before it is asked for. */
  readonly #unread: AgentMessage[] = [];
  #lost: Error | undefined;
  #lastId = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (bytes: Buffer) => this.#receive(bytes));
    socket.on("error", () => socket.destroy());
    socket.on("close", () =>
      this.lose(new LostGuestError("The guest's serial line was closed: QEMU has ended")),
    );
  }

  /** Connects to the serial port's socket, which QEMU makes some milliseconds after its start. */
  static async connect(path: string, signal: AbortSignal | undefined): Promise<AgentChannel> {
    for (let attempt = 0; ; attempt++) {
      signal?.throwIfAborted();
      const socket = createConnection(path);
      try {
        await once(socket, "connect");
        return new AgentChannel(socket);
      } catch {
        socket.destroy();
        if (attempt === 200)
          throw new LostGuestError(`QEMU did not open the guest's serial line at ${path} within 10 s`);
        await delay(50);
      }
    }
  }

  /** Waits for the agent of the kernel in `role` to report, and returns that kernel's release. */
  async hello(role: AgentRole, timeoutMs: number): Promise<string> {
    const message = await this.#wait(
      (m) => m.kind === "hello" && m.role === role,
      timeoutMs,
      `the ${role} kernel's shell`,
    );
    return message.kind === "hello" ? message.release : "";
  }

  /** Runs one line of shell in the guest, whatever it ends with. */
  async run(command: string, timeoutMs = 60_000): Promise<CommandResult> {
    const id = this.#write(command);
    const message = await this.#wait(
      (m) => m.kind === "reply" && m.id === id,
      timeoutMs,
      `the end of ${JSON.stringify(command.slice(0, 60))}`,
    );
    if (message.kind !== "reply") throw new LostGuestError("The guest answered out of turn");
    return message;
  }

  /**
   * Runs one line of shell and gives what it printed.
   *
   * @throws {GuestCommandError} where it ends with another status than 0.
   */
  async output(command: string, timeoutMs?: number): Promise<string> {
    const { status, output } = await this.run(command, timeoutMs);
    const text = Buffer.from(output).toString("latin1");
    if (status !== 0) throw new GuestCommandError(command, status, text);
    return text;
  }

  /** Starts a line of shell that never ends: the panic. */
  send(command: string): void {
    this.#write(command);
  }

  /** The agent reads lines: what stands behind a newline would be taken for the next request. */
  #write(command: string): number {
    if (command.includes("\n"))
      throw new TypeError(`A guest takes one line of shell, not ${JSON.stringify(command)}`);
    this.#socket.write(`${++this.#lastId} ${command}\n`);
    return this.#lastId;
  }

  /** Asks the agent to finish, and waits for its last word. */
  async finish(role: AgentRole): Promise<void> {
    const done = this.#wait((m) => m.kind === "done" && m.role === role, 30_000, "the guest's last word");
    this.#socket.write("finish\n");
    await done;
  }

  /** Ends every wait with `error`; later waits end the same way. */
  lose(error: Error): void {
    this.#lost ??= error;
    for (const waiter of this.#waiters) waiter.reject(this.#lost);
    this.#waiters.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy();
  }

  #receive(bytes: Uint8Array): void {
    try {
      this.#parser.append(bytes);
      for (let message = this.#parser.tryRead(); message; message = this.#parser.tryRead())
        this.#deliver(message);
    } catch (error) {
      this.lose(error instanceof Error ? error : new Error(String(error)));
      this.#socket.destroy();
    }
  }

  #deliver(message: AgentMessage): void {
    for (const waiter of this.#waiters) {
      if (!waiter.wants(message)) continue;
      this.#waiters.delete(waiter);
      waiter.resolve(message);
      return;
    }
    this.#unread.push(message);
  }

  async #wait(wants: Waiter["wants"], timeoutMs: number, what: string): Promise<AgentMessage> {
    const early = this.#unread.findIndex(wants);
    if (early !== -1) return this.#unread.splice(early, 1)[0]!;
    if (this.#lost) throw this.#lost;
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        wants,
        resolve: (message) => {
          clearTimeout(timer);
          resolve(message);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      const timer = setTimeout(() => {
        this.#waiters.delete(waiter);
        reject(
          new LostGuestError(`The guest did not answer within ${timeoutMs / 1000} s; waited for ${what}`),
        );
      }, timeoutMs);
      this.#waiters.add(waiter);
    });
  }
}
