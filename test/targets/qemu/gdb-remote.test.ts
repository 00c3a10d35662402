import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";

import { encodePacket } from "../../../src/targets/qemu/gdb-packet.ts";
import {
  GdbClosedError,
  GdbError,
  GdbRemote,
  GdbReplyError,
  GdbTimeoutError,
} from "../../../src/targets/qemu/gdb-remote.ts";
import { type FakeGdb, type Reaction, startFakeGdb } from "./fake-gdb.ts";

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

async function stubThat(react?: Reaction): Promise<{ readonly path: string; readonly stub: FakeGdb }> {
  const directory = await mkdtemp(join(tmpdir(), "kdh-test-"));
  const path = join(directory, "gdb");
  const stub = await startFakeGdb(path, react === undefined ? {} : { react });
  cleanUps.push(async () => await rm(directory, { recursive: true }), stub.stop);
  return { path, stub };
}

async function remoteOf(
  react?: Reaction,
  timeoutMs = 3000,
): Promise<{ readonly remote: GdbRemote; readonly stub: FakeGdb }> {
  const { path, stub } = await stubThat(react);
  const remote = await GdbRemote.connect({ path }, { timeoutMs });
  cleanUps.push(async () => await Promise.resolve(remote.close()));
  return { remote, stub };
}

/** Answers the first request that begins with `prefix` by `act`, everything else as usual. */
function once(prefix: string, act: Reaction): Reaction {
  let done = false;
  return (request, socket) => {
    if (done || !request.startsWith(prefix)) return undefined;
    done = true;
    return act(request, socket);
  };
}

describe("GdbRemote", () => {
  it("writes and reads back physical memory over several requests", async () => {
    const { remote, stub } = await remoteOf();
    await remote.setPhysicalMode(true);
    const bytes = Uint8Array.from({ length: 5000 }, (_, index) => (index * 7) % 256);
    await remote.writeMemory(0x1_0000_0ffen, bytes);
    expect(await remote.readMemory(0x1_0000_0ffen, 5000)).toEqual(bytes);
    expect(remote.memoryPerRequest).toBe(2024);
    expect(stub.log.filter((line) => line.startsWith("M"))).toHaveLength(3);
    expect(stub.log.filter((line) => line.startsWith("m")).map((line) => line.split(",")[1])).toEqual([
      "7e8",
      "7e8",
      "3b8",
    ]);
    await remote.detach();
    expect(stub.log).toContain("Qqemu.PhyMemMode:1");
    expect(stub.log).toContain("D");
    expect(stub.log).toContain("ack");
  });

  it("reads answers that come byte by byte, with run-lengths and escapes", async () => {
    const { remote } = await remoteOf((request, socket) => {
      if (!request.startsWith("m")) return undefined;
      // "0*&" is ten zeros: 5 bytes; "}\x02" stands for a quote, which hex has not: so "11" is sent plainly.
      const body = "0*&11";
      const sum = Buffer.from(body).reduce((total, byte) => (total + byte) % 256, 0);
      for (const byte of Buffer.from(`+$${body}#${sum.toString(16)}`)) socket.write(Uint8Array.of(byte));
      return "handled";
    });
    expect(await remote.readMemory(0n, 6)).toEqual(Uint8Array.of(0, 0, 0, 0, 0, 0x11));
  });

  it("sends all requests of a read before it waits, and keeps the answers apart", async () => {
    const held: string[] = [];
    const { remote, stub } = await remoteOf((request, socket) => {
      if (!request.startsWith("m")) return undefined;
      const count = Number.parseInt(request.split(",")[1] ?? "", 16);
      held.push(`+${Buffer.from(encodePacket(`0${held.length + 1}`.repeat(count))).toString("latin1")}`);
      if (held.length === 3) socket.write(held.join(""));
      return "handled";
    });
    const bytes = await remote.readMemory(0n, 5000);
    expect([0, 2023, 2024, 4047, 4048, 4999].map((at) => bytes[at])).toEqual([1, 1, 2, 2, 3, 3]);
    expect(stub.log.filter((line) => line === "ack").length).toBeLessThanOrEqual(2);
  });

  it.each([
    ["-", "a refusal while 2 requests were under way"],
    ["+$0000#00", "a corrupt answer while 2 requests were under way"],
  ])("gives up on %j where a repetition would come out of order", async (bytes, words) => {
    let count = 0;
    const { remote } = await remoteOf((request, socket) => {
      if (!request.startsWith("m")) return undefined;
      if (++count === 2) socket.write(bytes);
      return "handled";
    });
    const both = await Promise.allSettled([remote.readMemory(0n, 2), remote.readMemory(8n, 2)]);
    for (const outcome of both)
      expect(outcome).toMatchObject({
        status: "rejected",
        reason: { name: "GdbClosedError", message: expect.stringContaining(words) },
      });
  });

  it("sends again after a NAK", async () => {
    const { remote, stub } = await remoteOf(once("m", (_request, socket) => (socket.write("-"), "handled")));
    expect(await remote.readMemory(0n, 2)).toEqual(Uint8Array.of(0, 0));
    expect(stub.log.filter((line) => line === "m0,2")).toHaveLength(2);
  });

  it("gives up after four NAKs", async () => {
    const { remote } = await remoteOf((request, socket) =>
      request.startsWith("m") ? (socket.write("-"), "handled") : undefined,
    );
    await expect(remote.readMemory(0n, 2)).rejects.toThrow("refused one request 4 times");
  });

  it("asks again for an answer with a wrong checksum", async () => {
    const { remote, stub } = await remoteOf(
      once("m", (_request, socket) => {
        socket.write("+$0000#00");
        setTimeout(() => socket.write(encodePacket("abcd")), 5);
        return "handled";
      }),
    );
    expect(await remote.readMemory(0n, 2)).toEqual(Uint8Array.of(0xab, 0xcd));
    expect(stub.log).toContain("nak");
  });

  it("gives up after four wrong checksums", async () => {
    const { remote } = await remoteOf((request, socket) =>
      request.startsWith("m") ? (socket.write("+$0000#00".repeat(4)), "handled") : undefined,
    );
    await expect(remote.readMemory(0n, 2)).rejects.toThrow("4 corrupt answers");
  });

  it("passes over stop replies that nobody asked for", async () => {
    const { remote } = await remoteOf(
      once("m", (_request, socket) => (socket.write(encodePacket("T02thread:p01.01;")), undefined)),
    );
    expect(await remote.readMemory(0n, 2)).toEqual(Uint8Array.of(0, 0));
  });

  it.each([
    ["E01", 'answered "E01" to "m10,2"'],
    ["", 'does not know "m10,2"'],
    ["00", 'answered "00"'],
    ["00zz", 'answered "00zz"'],
  ])("names the request that was answered with %j", async (reply, words) => {
    const { remote } = await remoteOf((request) => (request.startsWith("m") ? reply : undefined));
    const error: unknown = await remote.readMemory(0x10n, 2).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(GdbReplyError);
    expect(error).toMatchObject({ reply, message: expect.stringContaining(words) });
  });

  it("says which QEMU has physical mode where the stub has none", async () => {
    const { remote } = await remoteOf((request) => (request.startsWith("Qqemu") ? "" : undefined));
    await expect(remote.setPhysicalMode(true)).rejects.toThrow("use QEMU 4.1 or newer");
  });

  it("refuses packets that are too small to use", async () => {
    const { path } = await stubThat((request) => (request.startsWith("qSup") ? "PacketSize=20" : undefined));
    await expect(GdbRemote.connect({ path })).rejects.toThrow("packets of 32 bytes");
  });

  it("times out, and does not take a late answer for the next one's", async () => {
    const { remote } = await remoteOf((request) => (request.startsWith("m") ? "handled" : undefined), 400);
    await expect(remote.readMemory(0n, 2)).rejects.toBeInstanceOf(GdbTimeoutError);
    await expect(remote.readMemory(0n, 2)).rejects.toBeInstanceOf(GdbClosedError);
  });

  it("rejects what is pending, and what follows, when the stub closes", async () => {
    const { remote } = await remoteOf((request, socket) =>
      request.startsWith("m") ? (socket.destroy(), "handled") : undefined,
    );
    const both = await Promise.allSettled([
      remote.readMemory(0n, 2),
      remote.writeMemory(0n, Uint8Array.of(1)),
    ]);
    for (const outcome of both)
      expect(outcome).toMatchObject({ status: "rejected", reason: { name: "GdbClosedError" } });
  });

  it("closes on what is no gdbstub at all", async () => {
    const { path } = await stubThat((_request, socket) => (socket.write("hello ".repeat(1000)), "handled"));
    const error: unknown = await GdbRemote.connect({ path }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(GdbError);
    expect(error).toMatchObject({ message: expect.stringContaining("it is no gdbstub") });
  });

  it("says where nobody listens", async () => {
    await expect(GdbRemote.connect({ path: "/nonexistent/gdb" })).rejects.toThrow(
      'gdbstub at "/nonexistent/gdb"',
    );
    await expect(GdbRemote.connect({ host: "127.0.0.1", port: 1 })).rejects.toBeInstanceOf(GdbClosedError);
  });
});
