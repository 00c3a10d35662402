/** A gdbstub over a UNIX socket, with memory, that can be told to misbehave. */
import { createServer, type Server, type Socket } from "node:net";

import { encodePacket, GdbPacketParser } from "../../../src/targets/qemu/gdb-packet.ts";

/** An answer to one request; `handled` sends none, `undefined` lets the stub answer as usual. */
export type Reaction = (request: string, socket: Socket) => string | undefined;

export interface FakeGdb {
  readonly log: string[];
  readonly memory: Map<bigint, number>;
  readonly stop: () => Promise<void>;
}

/** Listens at `path`. `hooks.attached`, `detached` tell what QEMU would do to the guest. */
export async function startFakeGdb(
  path: string,
  hooks: { readonly attached?: () => void; readonly detached?: () => void; readonly react?: Reaction } = {},
): Promise<FakeGdb> {
  const log: string[] = [];
  const memory = new Map<bigint, number>();
  const sockets = new Set<Socket>();
  const answer = (request: string): string => {
    if (request.startsWith("qSupported")) return "PacketSize=1000;vContSupported+;multiprocess+";
    if (request.startsWith("Qqemu.PhyMemMode:")) return "OK";
    if (request === "D") {
      hooks.detached?.();
      return "OK";
    }
    const [, kind, address = "", length = "", data = ""] =
      /^([mM])([0-9a-f]+),([0-9a-f]+)(?::([0-9a-f]*))?$/.exec(request) ?? [];
    const start = BigInt(`0x${address || "0"}`);
    const count = Number.parseInt(length || "0", 16);
    if (kind === "m") {
      if (count > 2048) return "E22";
      const bytes = Array.from({ length: count }, (_, index) => memory.get(start + BigInt(index)) ?? 0);
      return Buffer.from(bytes).toString("hex");
    }
    if (kind === "M") {
      const bytes = Buffer.from(data, "hex");
      if (bytes.length !== count) return "E22";
      for (const [index, byte] of bytes.entries()) memory.set(start + BigInt(index), byte);
      return "OK";
    }
    return "";
  };
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    hooks.attached?.();
    const parser = new GdbPacketParser();
    socket.on("data", (bytes: Uint8Array) => {
      parser.append(bytes);
      for (let item = parser.tryRead(); item !== undefined; item = parser.tryRead()) {
        if (item.kind !== "packet") {
          log.push(item.kind);
          continue;
        }
        const request = Buffer.from(item.data).toString("latin1");
        log.push(request);
        const reaction = hooks.react?.(request, socket);
        if (reaction === "handled") continue;
        socket.write(Buffer.concat([Buffer.from("+"), encodePacket(reaction ?? answer(request))]));
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    log,
    memory,
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
