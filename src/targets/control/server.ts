/** A keeper's control socket: while it holds a QMP socket, commands on that guest come through here. */
import { chmod, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import * as v from "valibot";

import { LineError, LineParser } from "../qemu/line-parser.ts";
import { prepareControlSocket } from "./directory.ts";
import {
  CONTROL_PROTOCOL,
  type ControlReply,
  type ControlRequest,
  type ListedTarget,
  REQUEST_LIMIT,
  requestSchema,
} from "./protocol.ts";

/** Where a command's output goes, and what ends it. */
export interface CommandOutput {
  readonly print: (text: string) => void;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

/** A keeper, as its control socket sees it. `K` is what it has of an open machine. */
export interface ControlledKeeper<K> {
  targets(): readonly ListedTarget[];
  /** The open machine of `target`; undefined where it is not kept, or not open now. */
  find(target: string): Promise<K | undefined>;
  /** Runs a command line on it. @returns the exit code. Never throws. */
  run(kept: K, args: readonly string[], output: CommandOutput): Promise<number>;
}

/** Why a command that came over the socket was ended. */
export class ControlInterrupt extends Error {
  override readonly name = "ControlInterrupt";
}

/** More connections at a time are nobody's that means well. */
const MAX_CONNECTIONS = 64;

/** Listens until it is closed. */
export class ControlServer<K> implements AsyncDisposable {
  readonly path: string;
  readonly #server: Server;
  readonly #keeper: ControlledKeeper<K>;
  readonly #sockets = new Set<Socket>();
  readonly #commands = new Map<AbortController, Promise<void>>();
  #closing = false;

  private constructor(path: string, server: Server, keeper: ControlledKeeper<K>) {
    this.path = path;
    this.#server = server;
    this.#keeper = keeper;
    server.on("connection", (socket) => this.#serve(socket));
  }

  /** @throws {ControlError} where the directory cannot be used; what listening throws. */
  static async open<K>(
    directory: string,
    uid: number,
    keeper: ControlledKeeper<K>,
  ): Promise<ControlServer<K>> {
    const path = await prepareControlSocket(directory, uid);
    const server = createServer();
    server.maxConnections = MAX_CONNECTIONS;
    const control = new ControlServer(path, server, keeper);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ path }, () => {
        server.removeListener("error", reject);
        resolve();
      });
    });
    // What goes wrong with one connection that is accepted is no reason to end.
    server.on("error", () => undefined);
    await chmod(path, 0o600);
    return control;
  }

  /** Ends the commands that are under way, as Ctrl-C would, and tells their clients how they ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing = true;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const command of this.#commands.keys()) command.abort(new ControlInterrupt("The keeper ends"));
    await Promise.all(this.#commands.values());
    for (const socket of this.#sockets) socket.destroySoon();
    await closed;
    await rm(this.path, { force: true });
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    const lines = new LineParser(REQUEST_LIMIT);
    let command: AbortController | undefined;
    const gone = (): void => command?.abort(new ControlInterrupt("Its client is gone"));
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.#sockets.delete(socket);
      gone();
    });
    socket.on("data", (bytes: Uint8Array) => {
      try {
        lines.append(bytes);
        for (let line = lines.tryRead(); line !== undefined; line = lines.tryRead()) {
          const request = readRequest(line);
          if (request.request === "interrupt") gone();
          else if (command !== undefined) throw new LineError("A second command came on one connection");
          else if (request.request === "list") answer(socket, { targets: this.#keeper.targets() });
          else {
            command = new AbortController();
            this.#begin(socket, request, command);
          }
        }
      } catch (error) {
        answer(socket, { error: error instanceof Error ? error.message : String(error) });
        socket.destroySoon();
        gone();
      }
    });
  }

  #begin(
    socket: Socket,
    request: ControlRequest & { readonly request: "run" },
    command: AbortController,
  ): void {
    const work = this.#run(socket, request, command.signal).finally(() => {
      this.#commands.delete(command);
      socket.end();
    });
    this.#commands.set(command, work);
  }

  /** Never throws. */
  async #run(
    socket: Socket,
    { target, args }: ControlRequest & { readonly request: "run" },
    signal: AbortSignal,
  ): Promise<void> {
    try {
      const kept = this.#closing ? undefined : await this.#keeper.find(target);
      answer(socket, { kept: kept !== undefined });
      if (kept === undefined) return;
      signal.throwIfAborted();
      const output = {
        print: (text: string) => answer(socket, { print: text }),
        say: (line: string) => answer(socket, { say: line }),
        signal,
      };
      answer(socket, { exit: await this.#keeper.run(kept, args, output) });
    } catch (error) {
      answer(socket, { error: error instanceof Error ? error.message : String(error) });
    }
  }
}

/** @throws {LineError} where it is none. */
function readRequest(line: string): ControlRequest {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new LineError("A request that is no JSON came", { cause: error });
  }
  const read = v.safeParse(requestSchema, value);
  if (read.success) return read.output;
  const words = read.issues.map((issue) => `${v.getDotPath(issue) ?? "it"}: ${issue.message}`).join("; ");
  throw new LineError(
    `A request came that this keeper (protocol ${CONTROL_PROTOCOL}) does not know: ${words}`,
  );
}

function answer(socket: Socket, reply: ControlReply): void {
  if (socket.writable) socket.write(`${JSON.stringify(reply)}\n`);
}
