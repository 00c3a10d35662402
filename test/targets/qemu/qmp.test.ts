import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";

import {
  QmpClosedError,
  QmpCommandError,
  QmpConnectError,
  QmpProtocolError,
  QmpTimeoutError,
} from "../../../src/targets/qemu/qmp-errors.ts";
import { QmpClient, type QmpEvent } from "../../../src/targets/qemu/qmp.ts";
import {
  eventLine,
  type FakePeer,
  GREETING,
  type Handler,
  onCommands,
  Refusal,
  SILENCE,
  startFakeQmp,
  startPeer,
} from "./fake-qmp.ts";
import { failure } from "../failure.ts";

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

async function peerThat(serve: Parameters<typeof startPeer>[0]): Promise<FakePeer> {
  const peer = await startPeer(serve);
  cleanUps.push(peer.stop);
  return peer;
}

async function clientOf(handlers: Readonly<Record<string, Handler>>): Promise<QmpClient> {
  const peer = await startFakeQmp(handlers);
  cleanUps.push(peer.stop);
  const client = await QmpClient.connect(peer.path);
  cleanUps.push(async () => await client.close());
  return client;
}

describe("connecting", () => {
  it("negotiates when greeting, event and reply come byte by byte", async () => {
    const peer = await peerThat((socket) => {
      const trickle = (text: string): void => {
        for (const byte of Buffer.from(text)) socket.write(Uint8Array.of(byte));
      };
      trickle(GREETING);
      onCommands(socket, ({ id }) => trickle(`${eventLine("RESUME")}{"return": {}, "id": ${Number(id)}}\n`));
    });
    await using client = await QmpClient.connect(peer.path);
    expect(client.isOpen).toBe(true);
    expect(await client.execute("anything")).toEqual({});
  });

  it.each(Array.from({ length: 12 }, (_, index) => index * 9))(
    "takes a greeting that is split after %i bytes",
    async (at) => {
      const peer = await peerThat((socket) => {
        socket.write(GREETING.slice(0, at));
        setTimeout(() => socket.write(GREETING.slice(at)), 5);
        onCommands(socket, ({ id }) => socket.write(`{"return": {}, "id": ${Number(id)}}\n`));
      });
      const client = await QmpClient.connect(peer.path);
      expect(client.isOpen).toBe(true);
      await client.close();
      expect(client.isOpen).toBe(false);
    },
  );

  it("says that there is no socket", async () => {
    const error = await failure(QmpClient.connect("/nonexistent/qmp.sock"));
    expect(error).toMatchObject({ name: "QmpConnectError", kind: "absent", path: "/nonexistent/qmp.sock" });
    expect(error.message).toContain('No socket at "/nonexistent/qmp.sock"');
  });

  it("says that a path is too long for a socket", async () => {
    const error = await failure(QmpClient.connect(`/tmp/${"x".repeat(200)}`));
    expect(error.message).toContain("205 bytes and a socket's path may have 107");
  });

  it("says that a file is not a socket", async () => {
    const peer = await peerThat(() => undefined);
    const path = join(peer.directory, "file");
    await writeFile(path, "");
    expect(await failure(QmpClient.connect(path))).toMatchObject({ kind: "not-a-socket" });
  });

  it("says that nobody listens any more", async () => {
    const peer = await peerThat(() => undefined);
    const path = join(peer.directory, "dead");
    // A socket file whose listener is gone stays behind when it is moved away before the listener closes.
    const { rename } = await import("node:fs/promises");
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(`${path}-live`, resolve));
    await rename(`${path}-live`, path);
    await new Promise<void>((resolve) => server.close(() => resolve()));
    expect(await failure(QmpClient.connect(path))).toMatchObject({ kind: "refused" });
  });

  it("names a silent socket busy within 2 s", async () => {
    const peer = await peerThat(() => undefined);
    const took: number[] = [];
    // The machine may have kept this process waiting for half a second: then the next one counts.
    while (took.length < 5 && !took.some((ms) => ms < 2000)) {
      const started = performance.now();
      const error = await failure(QmpClient.connect(peer.path));
      took.push(performance.now() - started);
      expect(error).toMatchObject({ kind: "busy" });
      expect(error.message).toContain("another client holds it");
    }
    expect(Math.min(...took)).toBeLessThan(2000);
  });

  it.each([
    ["a banner", "QEMU 10.0.2 monitor - type 'help' for more information\r\n(qemu) ", "not JSON"],
    ["JSON without a greeting", '{"return": {}}\n', "not a QMP greeting"],
    ["bytes that are no text", Uint8Array.of(0xff, 0xfe, 0x0a), "not UTF-8"],
  ])("refuses %s as not QMP", async (_name, bytes, words) => {
    const peer = await peerThat((socket) => socket.write(bytes));
    const error = await failure(QmpClient.connect(peer.path));
    expect(error).toMatchObject({ kind: "not-qmp" });
    expect(error.message).toContain(words);
  });

  it("refuses as not QMP what talks without ever ending a line", async () => {
    const peer = await peerThat((socket) => socket.write("login: "));
    const error = await failure(QmpClient.connect(peer.path, { timeoutMs: 500 }));
    expect(error).toMatchObject({ kind: "not-qmp" });
  });

  it("refuses as not QMP what closes without a greeting", async () => {
    const peer = await peerThat((socket) => socket.end());
    expect(await failure(QmpClient.connect(peer.path))).toMatchObject({ kind: "not-qmp" });
  });

  it("gives up when the negotiation is not answered", async () => {
    const peer = await peerThat((socket) => socket.write(GREETING));
    const error = await failure(QmpClient.connect(peer.path, { timeoutMs: 500 }));
    expect(error).toBeInstanceOf(QmpTimeoutError);
    expect(error.message).toContain('"qmp_capabilities" within 500 ms');
  });

  it("ends with the signal's reason", async () => {
    const peer = await peerThat(() => undefined);
    const reason = new Error("Interrupted by the user");
    const controller = new AbortController();
    setTimeout(() => controller.abort(reason), 20);
    expect(await failure(QmpClient.connect(peer.path, { signal: controller.signal }))).toBe(reason);
    expect(await failure(QmpClient.connect(peer.path, { signal: controller.signal }))).toBe(reason);
  });
});

describe("commands", () => {
  it("carries 64-bit integers exactly both ways", async () => {
    const client = await clientOf({ echo: (args) => args });
    const sent = { a: 18446744073709551615n, b: 9007199254740993n, c: 4096 };
    expect(await client.execute("echo", sent)).toEqual(sent);
  });

  it("routes replies by id, whatever their order, and keeps events apart", async () => {
    const waiting: unknown[] = [];
    const peer = await peerThat((socket) => {
      socket.write(GREETING);
      onCommands(socket, (command) => {
        if (command.execute === "qmp_capabilities") {
          socket.write(`{"return": {}, "id": ${Number(command.id)}}\n`);
          return;
        }
        waiting.push(command.id);
        if (waiting.length < 3) return;
        for (const id of waiting.toReversed()) {
          socket.write(`${eventLine("NIC_RX")}{"id": ${Number(id)}, "return": ${Number(id) * 10}}\n`);
        }
      });
    });
    await using client = await QmpClient.connect(peer.path);
    const events: QmpEvent[] = [];
    client.onEvent((event) => events.push(event));
    const replies = await Promise.all(["a", "b", "c"].map(async (name) => await client.execute(name)));
    expect(replies).toEqual([20, 30, 40]);
    expect(events).toHaveLength(3);
  });

  it("rejects with QEMU's words and the caller's stack", async () => {
    const client = await clientOf({
      object_add: () => {
        throw new Refusal("out of memory");
      },
    });
    async function theCaller(): Promise<unknown> {
      return await client.execute("object_add");
    }
    const error = await failure(theCaller());
    expect(error).toBeInstanceOf(QmpCommandError);
    expect(error).toMatchObject({ command: "object_add", class: "GenericError", desc: "out of memory" });
    expect(error.message).toBe('QEMU refused "object_add": out of memory (GenericError)');
    expect(error.stack).toContain("theCaller");
  });

  it("times out, ignores the late reply, and stays usable", async () => {
    const late: (() => void)[] = [];
    const client = await clientOf({
      slow: (_args, socket) => {
        late.push(() => socket.write('{"return": "late", "id": 2}\n'));
        return SILENCE;
      },
      quick: () => {
        for (const send of late) send();
        return "quick";
      },
    });
    const error = await failure(client.execute("slow", {}, { timeoutMs: 30 }));
    expect(error).toBeInstanceOf(QmpTimeoutError);
    expect(error.message).toContain('did not answer "slow" within 30 ms');
    expect(await client.execute("quick")).toBe("quick");
    expect(await client.execute("quick")).toBe("quick");
  });

  it("rejects everything pending, with the reason, when the peer closes", async () => {
    const client = await clientOf({
      hang: () => SILENCE,
      die: (_args, socket) => (socket.destroy(), SILENCE),
    });
    const pending = [client.execute("hang"), client.waitForEvent("STOP"), client.execute("die")].map(failure);
    for (const error of await Promise.all(pending)) {
      expect(error).toBeInstanceOf(QmpClosedError);
      expect(error.message).toContain("closed the connection");
    }
    expect((await failure(client.execute("query-status"))).message).toContain('"query-status" was not sent');
    expect(await failure(client.waitForEvent("STOP"))).toBeInstanceOf(QmpClosedError);
    expect(await client.closed).toBeInstanceOf(QmpClosedError);
    await client.close();
  });

  it.each([
    ["an id that was never given", '{"return": {}, "id": 999}\n', "never sent"],
    ["no id", '{"error": {"class": "GenericError", "desc": "JSON parse error"}}\n', "JSON parse error"],
    ["garbage", "@@@@\n", "not JSON"],
    ["neither result nor error", '{"id": 2}\n', "neither"],
    ["a second greeting", GREETING, "second greeting"],
  ])("closes on a reply with %s", async (_name, line, words) => {
    const client = await clientOf({ ask: (_args, socket) => (socket.write(line), SILENCE) });
    const error = await failure(client.execute("ask"));
    expect(error).toBeInstanceOf(QmpClosedError);
    expect(error.cause).toBeInstanceOf(QmpProtocolError);
    expect(error.message).toContain(words);
    expect(client.isOpen).toBe(false);
  });

  it("closes on a line without end instead of filling memory", async () => {
    const client = await clientOf({
      ask: (_args, socket) => (socket.write(Buffer.alloc(17 * 1024 * 1024, 0x20)), SILENCE),
    });
    const error = await failure(client.execute("ask"));
    expect(error.message).toContain("longer than 16777216 bytes");
  });

  it("rejects what is pending when we close, and may be closed twice", async () => {
    const client = await clientOf({ hang: () => SILENCE });
    const pending = failure(client.execute("hang"));
    await Promise.all([client.close(), client.close()]);
    expect((await pending).message).toContain("We closed the connection");
  });
});

describe("events", () => {
  it("delivers in order until the listener is taken away, and survives one that throws", async () => {
    const client = await clientOf({
      go: (_args, socket) => {
        for (let at = 0; at < 3; at++) socket.write(eventLine(`E${at}`, at));
        return {};
      },
    });
    const seen: string[] = [];
    const forget = client.onEvent(({ event, timestamp }) => seen.push(`${event}@${timestamp.microseconds}`));
    await client.execute("go");
    forget();
    await client.execute("go");
    expect(seen).toEqual(["E0@0", "E1@1", "E2@2"]);
  });

  it("waits for a name or a predicate, and says what did not come", async () => {
    const client = await clientOf({ go: (_args, socket) => (socket.write(eventLine("STOP", 7)), {}) });
    const byName = client.waitForEvent("STOP");
    const byPredicate = client.waitForEvent((event) => event.timestamp.microseconds === 7);
    await client.execute("go");
    expect((await byName).event).toBe("STOP");
    expect((await byPredicate).event).toBe("STOP");
    const error = await failure(client.waitForEvent("RESUME", { timeoutMs: 20 }));
    expect(error).toBeInstanceOf(QmpTimeoutError);
    expect(error.message).toContain("did not send event RESUME within 20 ms");
  });
});

it("keeps one error tree", () => {
  expect(new QmpConnectError("busy", "/x", "Busy")).toBeInstanceOf(Error);
  expect(new QmpConnectError("busy", "/x", "Busy").name).toBe("QmpConnectError");
});
