/** Asks the keepers of this user, through their control sockets. */
import { connect, type Socket } from "node:net";
import * as v from "valibot";

import { LineParser } from "../qemu/line-parser.ts";
import { ControlError, controlSockets } from "./directory.ts";
import { CONTROL_PROTOCOL, type ControlReply, type ListedTarget, replySchema } from "./protocol.ts";
import type { CommandOutput } from "./server.ts";

/** A keeper that does not say this soon whether it has a target, ms, is not waited for. */
const ANSWER_LIMIT_MS = 2000;
/** How long a command that was interrupted may take to end, ms: a pause is brought to its end first. */
const INTERRUPT_LIMIT_MS = 30_000;

/** A keeper that does not answer, or has ended before it did. */
export class SilentKeeperError extends ControlError {
  override readonly name = "SilentKeeperError";

  constructor(path: string) {
    super(
      `The keeper at ${path} did not answer within ${ANSWER_LIMIT_MS} ms: it hangs, has just ended, or the machine is very busy; ask again`,
    );
  }
}

/** A keeper that listens. */
export interface KeeperTargets {
  /** Its control socket. */
  readonly socket: string;
  /** What it keeps, or that it does not say. */
  readonly targets: readonly ListedTarget[] | SilentKeeperError;
}

/**
 * Runs the command line `args` by the keeper that has `target` open.
 *
 * A keeper that does not answer may be the one: where no other has it, `output` is told of it, and who opens the target
 * finds out.
 *
 * @returns its exit code; undefined where no keeper has it.
 * @throws {ControlError} where the keeper ends before its command has.
 */
export async function runByKeeper(
  directory: string,
  uid: number,
  target: string,
  args: readonly string[],
  output: CommandOutput,
): Promise<number | undefined> {
  const silent: SilentKeeperError[] = [];
  for (const socket of await controlSockets(directory, uid)) {
    try {
      const code = await runBy(socket, target, args, output);
      if (code !== undefined) return code;
    } catch (error) {
      if (!(error instanceof SilentKeeperError)) throw error;
      silent.push(error);
    }
  }
  for (const { message } of silent) output.say(message);
  return undefined;
}

/**
 * As {@link runByKeeper}, of the keeper that listens at `path`.
 *
 * @throws {SilentKeeperError} where it does not say in time whether it has it.
 */
export async function runBy(
  path: string,
  target: string,
  args: readonly string[],
  output: CommandOutput,
): Promise<number | undefined> {
  await using dialogue = await Dialogue.open(path);
  if (dialogue === undefined) return undefined;
  dialogue.send({ protocol: CONTROL_PROTOCOL, request: "run", target, args });
  const first = await dialogue.reply(ANSWER_LIMIT_MS);
  if (first === undefined) throw new SilentKeeperError(path);
  if ("kept" in first && !first.kept) return undefined;
  if (!("kept" in first)) throw unexpected(path, first);
  const interrupt = (): void =>
    dialogue.send({ protocol: CONTROL_PROTOCOL, request: "interrupt" }, INTERRUPT_LIMIT_MS);
  output.signal.addEventListener("abort", interrupt, { once: true });
  if (output.signal.aborted) interrupt();
  try {
    for (;;) {
      const reply = await dialogue.reply();
      if (reply === undefined)
        throw new ControlError(
          `The keeper at ${path} ended before its command had: what became of it is not known; run audit`,
        );
      if ("print" in reply) output.print(reply.print);
      else if ("say" in reply) output.say(reply.say);
      else if ("exit" in reply) return reply.exit;
      else throw unexpected(path, reply);
    }
  } finally {
    output.signal.removeEventListener("abort", interrupt);
  }
}

/** Every keeper of this user that listens, and what it keeps. */
export async function listKeepers(directory: string, uid: number): Promise<readonly KeeperTargets[]> {
  const keepers: KeeperTargets[] = [];
  for (const path of await controlSockets(directory, uid)) {
    await using dialogue = await Dialogue.open(path);
    if (dialogue === undefined) continue;
    dialogue.send({ protocol: CONTROL_PROTOCOL, request: "list" });
    const reply = await dialogue.reply(ANSWER_LIMIT_MS);
    if (reply !== undefined && !("targets" in reply)) throw unexpected(path, reply);
    keepers.push({ socket: path, targets: reply?.targets ?? new SilentKeeperError(path) });
  }
  return keepers;
}

function unexpected(path: string, reply: ControlReply): ControlError {
  return "error" in reply
    ? new ControlError(
        `The keeper at ${path} refused: ${reply.error}; it may be of another version: restart it`,
      )
    : new ControlError(`The keeper at ${path} said something unexpected: ${JSON.stringify(reply)}`);
}

/** Lines to a keeper and back. */
class Dialogue implements AsyncDisposable {
  readonly #socket: Socket;
  readonly #lines = new LineParser();
  readonly #replies: ControlReply[] = [];
  #ended = false;
  #problem: Error | undefined;
  #wake: (() => void) | undefined;
  #limit: NodeJS.Timeout | undefined;

  private constructor(socket: Socket, path: string) {
    this.#socket = socket;
    socket.on("data", (bytes: Uint8Array) => {
      try {
        this.#lines.append(bytes);
        for (let line = this.#lines.tryRead(); line !== undefined; line = this.#lines.tryRead())
          this.#replies.push(v.parse(replySchema, JSON.parse(line)));
      } catch (error) {
        this.#problem = new ControlError(`The keeper at ${path} said what cannot be understood`, {
          cause: error,
        });
        socket.destroy();
      }
      this.#wake?.();
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.#ended = true;
      this.#wake?.();
    });
  }

  /** Undefined where nobody listens there any more. */
  static async open(path: string): Promise<Dialogue | undefined> {
    const socket = connect({ path });
    const connected = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true));
      socket.once("error", () => resolve(false));
      socket.setTimeout(ANSWER_LIMIT_MS, () => resolve(false));
    });
    socket.setTimeout(0);
    if (connected) return new Dialogue(socket, path);
    socket.destroy();
    return undefined;
  }

  /** @param limitMs until then the other side has to end. */
  send(request: Readonly<Record<string, unknown>>, limitMs?: number): void {
    this.#socket.write(`${JSON.stringify(request)}\n`);
    if (limitMs !== undefined) this.#limit ??= setTimeout(() => this.#socket.destroy(), limitMs);
  }

  /** The next one; undefined where none comes any more, or not in time. */
  async reply(limitMs?: number): Promise<ControlReply | undefined> {
    const timer = limitMs === undefined ? undefined : setTimeout(() => this.#socket.destroy(), limitMs);
    try {
      while (this.#replies.length === 0 && !this.#ended && this.#problem === undefined)
        await new Promise<void>((resolve) => (this.#wake = resolve));
      if (this.#problem !== undefined) throw this.#problem;
      return this.#replies.shift();
    } finally {
      clearTimeout(timer);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#limit);
    this.#socket.destroy();
  }
}
