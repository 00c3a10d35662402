/** A QMP peer that does what a test tells it to, over a real UNIX socket. */
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { parseQmp, stringifyQmp } from "../../../src/targets/qemu/qmp-json.ts";

export const GREETING =
  '{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}, "capabilities": ["oob"]}}\r\n';

/** A server on a socket in a directory of its own. */
export interface FakePeer {
  readonly path: string;
  readonly directory: string;
  readonly connections: readonly Socket[];
  readonly stop: () => Promise<void>;
}

/** Listens and hands each connection to `serve`. @param at where; in a directory of its own unless told. */
export async function startPeer(serve: (socket: Socket) => void, at?: string): Promise<FakePeer> {
  const directory = await mkdtemp(join(tmpdir(), "kdh-test-"));
  const path = at ?? join(directory, "socket");
  const connections: Socket[] = [];
  const server: Server = createServer((socket) => {
    connections.push(socket);
    socket.on("error", () => undefined);
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    path,
    directory,
    connections,
    stop: async () => {
      for (const socket of connections) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      await rm(directory, { recursive: true, force: true });
    },
  };
}

export interface Command {
  readonly execute: string;
  readonly arguments: Readonly<Record<string, unknown>>;
  readonly id: unknown;
}

/** Calls `take` for each line of JSON that comes in. */
export function onCommands(socket: Socket, take: (command: Command) => void): void {
  let text = "";
  socket.on("data", (bytes) => {
    text += bytes.toString();
    for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n")) {
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the client under test wrote it
      take(parseQmp(text.slice(0, end)) as Command);
      text = text.slice(end + 1);
    }
  });
}

/** A handler's answer: a result, or an error in QEMU's words. */
export type Handler = (args: Readonly<Record<string, unknown>>, socket: Socket) => unknown;

/** Thrown by a handler: answered as QMP's error. */
export class Refusal extends Error {}

/** A handler that never answers. */
export const SILENCE: unique symbol = Symbol("silence");

export const eventLine = (event: string, microseconds: number = 0): string =>
  `${stringifyQmp({ event, data: {}, timestamp: { seconds: 100, microseconds } })}\r\n`;

/** How a peer listens. */
export interface PeerOptions {
  /** Where; in a directory of its own unless told. */
  readonly path?: string;
  /** As QEMU does: who comes while somebody else is there is not greeted until that one has gone. */
  readonly exclusive?: boolean;
  /** While it is true nobody is greeted and nothing is answered, as by a QEMU that was sent SIGSTOP. */
  readonly stands?: () => boolean;
  /** Leaves `log` empty: where thousands of commands come. */
  readonly silent?: boolean;
}

/** A peer that greets, negotiates and answers by `handlers`; anything else is CommandNotFound. */
export async function startFakeQmp(
  handlers: Readonly<Record<string, Handler>>,
  { path, exclusive, silent, stands }: PeerOptions = {},
): Promise<FakePeer & { readonly log: string[] }> {
  const log: string[] = [];
  let present: Promise<void> = Promise.resolve();
  const peer = await startPeer((socket) => {
    const before = present;
    if (exclusive) present = new Promise((resolve) => socket.once("close", () => resolve()));
    void before.then(() => socket.writable && !stands?.() && socket.write(GREETING));
    onCommands(socket, (command) => {
      if (stands?.()) return;
      const line = command.arguments["command-line"];
      if (command.execute !== "qmp_capabilities" && !silent) {
        log.push(typeof line === "string" ? `hmp:${line}` : command.execute);
      }
      const handler = command.execute === "qmp_capabilities" ? () => ({}) : handlers[command.execute];
      try {
        if (handler === undefined) throw new Refusal(`The command ${command.execute} has not been found`);
        const value = handler(command.arguments, socket);
        if (value !== SILENCE) socket.write(`${stringifyQmp({ return: value, id: command.id })}\r\n`);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        const reply = { error: { class: "GenericError", desc: error.message }, id: command.id };
        socket.write(`${stringifyQmp(reply)}\r\n`);
      }
    });
  }, path);
  return { ...peer, log };
}
