/** Whole sessions with a peer that has forged its answers: the input is what it sends, then it hangs up. */
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { encodePacket } from "../../../src/targets/qemu/gdb-packet.ts";
import { GdbError, GdbRemote } from "../../../src/targets/qemu/gdb-remote.ts";
import { examine } from "../../../src/targets/qemu/pmemsave.ts";
import { QmpError } from "../../../src/targets/qemu/qmp-errors.ts";
import { QmpClient } from "../../../src/targets/qemu/qmp.ts";
import { queryMemdevs, queryStatus } from "../../../src/targets/qemu/replies.ts";
import { makeDirectory } from "../directory.ts";
import { bytesOf, type FuzzedReader, promise } from "../reader.ts";

/** A peer that is forged has hung up by then. */
const TIMEOUT_MS = 5000;

/** A client that asks nothing for so long waits for what will never come: then the rest is sent, and the peer hangs up. */
const IDLE_MS = 100;

/** A server that hands each connection to the last `serve`; it keeps no process alive, and leaves nothing behind. */
class Peer {
  serve: (socket: Socket) => void = () => undefined;
  #path: Promise<string> | undefined;

  async path(): Promise<string> {
    this.#path ??= this.#listen();
    return this.#path;
  }

  async #listen(): Promise<string> {
    const path = join(makeDirectory(), "socket");
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      this.serve(socket);
    });
    server.listen(path);
    await once(server, "listening");
    server.unref();
    return path;
  }
}

const GREETING =
  '{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}, "capabilities": []}}\r\n';
const ANSWERS = [
  '{"return": {"status": "running", "running": true}, "id": 2}\r\n',
  '{"return": [{"id": "ram0", "size": 1073741824, "share": true}], "id": 3}\r\n',
  '{"return": "0000000000001000: 0x1122334455667788 0x0000000000000000\\r\\n", "id": 4}\r\n',
];
const EVENT = '{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP", "data": {}}\r\n';

function qmpSession(): FuzzedReader {
  const peer = new Peer();
  return {
    name: "qmp-session",
    corpus: [
      ANSWERS.join(""),
      EVENT + ANSWERS.join(EVENT),
      '{"error": {"class": "GenericError", "desc": "no"}, "id": 2}\r\n',
    ].map(bytesOf),
    dictionary: [
      '"id": 2',
      '"id": 3',
      '"id": 4',
      '"return"',
      '"error"',
      '"running"',
      "{",
      "}",
      "\r\n",
      "0x",
      "0000000000001000:",
      "18446744073709551616",
      EVENT,
    ].map(bytesOf),
    refusals: [QmpError],
    read: async (input) => {
      peer.serve = (socket) => {
        socket.write(GREETING);
        // The negotiation's command comes first, and is answered well; at the next one all forged answers go out.
        socket.once("data", () => {
          socket.write('{"return": {}, "id": 1}\r\n');
          socket.once("data", () => socket.end(input));
        });
      };
      const qmp = await QmpClient.connect(await peer.path(), { timeoutMs: TIMEOUT_MS });
      try {
        const answers = await Promise.allSettled([
          queryStatus(qmp),
          queryMemdevs(qmp),
          examine(qmp, 0x1000n, 16),
        ]);
        const [status, memdevs, bytes] = answers;
        if (status.status === "fulfilled")
          promise(typeof status.value.running === "boolean", "a run state that is none");
        if (memdevs.status === "fulfilled")
          promise(
            memdevs.value.every(({ size }) => size >= 0n && size < 1n << 64n),
            "a size beyond 64 bits",
          );
        if (bytes.status === "fulfilled")
          promise(bytes.value.length === 16, "other bytes than were asked for");
        for (const answer of answers) if (answer.status === "rejected") throw answer.reason;
      } finally {
        await qmp.close();
      }
    },
  };
}

const frame = (data: string): string => Buffer.from(encodePacket(data)).toString("latin1");

/** Sends `input` up to the end of its first packet. @returns the rest; where there is none, the peer has hung up. */
function sendOne(socket: Socket, input: Uint8Array): Uint8Array {
  if (socket.writableEnded) return input;
  const end = input.indexOf(0x23) + 3;
  if (end < 3 || end >= input.length) {
    socket.end(input);
    return new Uint8Array();
  }
  socket.write(input.subarray(0, end));
  return input.subarray(end);
}

function gdbSession(): FuzzedReader {
  const peer = new Peer();
  const good = `+${frame("PacketSize=1000;multiprocess+")}+${frame("OK")}+${frame("00".repeat(64))}+${frame("OK")}`;
  return {
    name: "gdb-session",
    corpus: [good, `+${frame("T05thread:01;")}${good}`, `+${frame("PacketSize=60")}+${frame("OK")}`].map(
      bytesOf,
    ),
    dictionary: [
      "+",
      "-",
      "$",
      "#",
      "*",
      "}",
      frame("OK"),
      frame("E22"),
      frame(""),
      frame("T05"),
      "PacketSize=ffffffff",
      "PacketSize=0",
    ].map(bytesOf),
    refusals: [GdbError],
    read: async (input) => {
      // One packet of the input for each request, with what stands before it; what is left behind the last one too.
      peer.serve = (socket) => {
        let rest = input;
        let idle: NodeJS.Timeout | undefined;
        socket.on("data", (bytes: Buffer) => {
          clearTimeout(idle);
          idle = setTimeout(() => socket.end(rest), IDLE_MS);
          for (const byte of bytes) if (byte === 0x24) rest = sendOne(socket, rest);
        });
      };
      const gdb = await GdbRemote.connect(
        { path: await peer.path() },
        { timeoutMs: TIMEOUT_MS, physical: true },
      );
      try {
        const bytes = await gdb.readMemory(0x1000n, 64);
        promise(bytes.length === 64, "other bytes than were asked for");
        await gdb.writeMemory(0x1000n, new Uint8Array(16));
        promise(gdb.memoryPerRequest > 0 && gdb.memoryPerRequest <= 2048, "an impossible packet size");
      } finally {
        gdb.close();
      }
    },
  };
}

export const SESSION_READERS: readonly FuzzedReader[] = [qmpSession(), gdbSession()];
