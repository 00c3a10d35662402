import { once } from "node:events";
import { createServer } from "node:http";
import { connect, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { addressText, ListenError, parseListenAddress } from "../../../src/keeper/metrics/listen-address.ts";
import { type MetricsServer, type Served, startMetricsServer } from "../../../src/keeper/metrics/server.ts";
import { PATIENCE } from "../../patience.ts";

const TEXT = "# TYPE a gauge\na 1\n";
const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";
const LIMITS = { headMs: 300, idleMs: 700, connections: 8 };

let server: MetricsServer;
let state: { alive: string | undefined; ready: string | undefined; metrics: () => Promise<string> };
let troubles: string[];
const served: Served = {
  metrics: { contentType: CONTENT_TYPE, text: async () => await state.metrics() },
  notAlive: () => state.alive,
  notReady: () => state.ready,
};

beforeEach(async () => {
  state = { alive: undefined, ready: undefined, metrics: async () => TEXT };
  troubles = [];
  server = await startMetricsServer(
    { host: "127.0.0.1", port: 0 },
    served,
    (text) => troubles.push(text),
    LIMITS,
  );
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
  if (troubles.length > 0) throw new Error(`Nobody asked for this trouble: ${troubles.join("; ")}`);
});

async function get(path: string, init: RequestInit = {}): Promise<Response> {
  return fetch(new URL(path, server.url), { ...init, signal: AbortSignal.timeout(10_000) });
}

/** Sends `bytes` as they are. @returns what came back until the other end closed, and after how many ms it did. */
async function raw(bytes: string): Promise<{ readonly text: string; readonly ms: number }> {
  const started = performance.now();
  await using socket = await opened();
  let text = "";
  socket.socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  socket.socket.write(bytes, "latin1");
  await closed(socket.socket);
  return { text, ms: performance.now() - started };
}

/** Whatever error it ends with. */
async function closed(socket: Socket): Promise<void> {
  await vi.waitUntil(() => socket.closed, { timeout: 15_000, interval: 5 });
}

async function opened(): Promise<{ readonly socket: Socket } & AsyncDisposable> {
  const socket = connect(server.address.port, "127.0.0.1");
  socket.on("error", () => undefined);
  await once(socket, "connect");
  return {
    socket,
    [Symbol.asyncDispose]: async () => {
      socket.destroy();
      await closed(socket);
    },
  };
}

describe("what is asked for", () => {
  test("/metrics is the metrics, whatever follows in the query", async () => {
    for (const path of ["/metrics", "/metrics?name=a"]) {
      const answer = await get(path);
      expect(answer.status).toBe(200);
      expect(answer.headers.get("content-type")).toBe(CONTENT_TYPE);
      expect(await answer.text()).toBe(TEXT);
    }
  });

  test("HEAD says the same without the text", async () => {
    const answer = await get("/metrics", { method: "HEAD" });
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-length")).toBe(String(TEXT.length));
    expect(await answer.text()).toBe("");
  });

  test.each(["alive", "ready"] as const)("whether it is %s, and why not", async (what) => {
    const path = what === "alive" ? "/healthz" : "/readyz";
    const good = await get(path);
    expect([good.status, await good.text()]).toEqual([200, "yes\n"]);
    state[what] = "the main loop has not turned";
    const bad = await get(path);
    expect([bad.status, await bad.text()]).toEqual([503, "no: the main loop has not turned\n"]);
  });

  test.each(["/", "/metrics/", "/Metrics", "/../metrics/x", "//", "/%2e%2e/etc/passwd"])(
    "there is no %s",
    async (path) => {
      const answer = await raw(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
      expect(answer.text).toMatch(/^HTTP\/1\.1 404 /);
    },
  );

  test.each(["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])("%s is not answered", async (method) => {
    const answer = await get("/metrics", { method });
    expect([answer.status, answer.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
  });

  test("metrics that cannot be read are told of, here and there", async () => {
    state.metrics = async () => await Promise.reject(new Error("they broke"));
    const answer = await get("/metrics");
    expect(answer.status).toBe(500);
    expect(await answer.text()).not.toContain("they broke");
    expect(troubles.splice(0)).toEqual(["A request for metrics could not be answered: they broke"]);
    expect((await get("/healthz")).status).toBe(200);
  });
});

describe("a client that is hostile", () => {
  test("sends its head byte by byte: it is closed, and others are answered meanwhile", async () => {
    await using slow = await opened();
    let text = "";
    slow.socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
    slow.socket.write("GET /metrics HTTP/1.1\r\n");
    const drip = setInterval(() => slow.socket.write("x"), 20);
    const ended = closed(slow.socket);
    expect((await get("/metrics")).status).toBe(200);
    await ended;
    clearInterval(drip);
    expect(text).toMatch(/^HTTP\/1\.1 408 /);
  });

  test("says nothing at all: it is closed", async () => {
    const { text, ms } = await raw("");
    expect(text).toMatch(/^(?:HTTP\/1\.1 408 .*)?/);
    expect(ms).toBeLessThan(5000);
  });

  test("has no end of headers: it is told so", async () => {
    const { text } = await raw(`GET /metrics HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(20_000)}\r\n\r\n`);
    expect(text).toMatch(/^HTTP\/1\.1 431 /);
  });

  test.each([
    ["noise", "\u0000\u0001\u0002\r\n\r\n"],
    ["TLS", "\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003"],
    ["no host", "GET /metrics HTTP/1.1\r\n\r\n"],
    ["two lengths", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"],
    ["a broken chunk", "GET /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
    ["another protocol", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"],
    ["an upgrade", "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"],
    ["an expectation", "GET /metrics HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\nConnection: close\r\n\r\n"],
  ])("sends %s: its connection ends and the server goes on", async (_, bytes) => {
    await raw(bytes);
    expect((await get("/metrics")).status).toBe(200);
  });

  test("sends a body without end: nobody reads it, the connection ends", async () => {
    const { text } = await raw(
      `GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n${"x".repeat(100_000)}`,
    );
    expect(text).toMatch(/^HTTP\/1\.1 200 [\s\S]*connection: close/i);
  });

  test("asks and never reads: it is closed, and what it did not read is let go", async () => {
    state.metrics = async () => await Promise.resolve("x".repeat(30_000_000));
    await using deaf = await opened();
    deaf.socket.pause();
    deaf.socket.write("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    // Who does not read sees the end only when he tries to write.
    const ended = closed(deaf.socket);
    const poke = setInterval(() => deaf.socket.write("x"), 50);
    await ended;
    clearInterval(poke);
    state.metrics = async () => TEXT;
    expect((await get("/metrics")).status).toBe(200);
  });

  test("goes away in the middle of the answer", async () => {
    state.metrics = async () => await Promise.resolve("x".repeat(5_000_000));
    for (let i = 0; i < 5; i++) {
      await using rude = await opened();
      rude.socket.write("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
      await once(rude.socket, "data");
      rude.socket.resetAndDestroy();
    }
    state.metrics = async () => TEXT;
    expect((await get("/metrics")).status).toBe(200);
  });

  test("comes many times at once: some are refused, and later all is well", async () => {
    const crowd = await Promise.all(Array.from({ length: 40 }, () => opened()));
    const open = (): number => crowd.filter(({ socket }) => !socket.closed && !socket.readableEnded).length;
    await vi.waitUntil(() => open() <= LIMITS.connections, PATIENCE);
    for (const each of crowd) await each[Symbol.asyncDispose]();
    // The server hears of their end a moment later.
    await vi.waitFor(async () => expect((await get("/metrics")).status).toBe(200), PATIENCE);
  });
});

describe("where nobody can listen", () => {
  test("the port is taken: the error says so, and what to do", async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const bound = other.address();
    const port = typeof bound === "object" ? bound?.port : undefined;
    if (port === undefined) throw new Error("The other server has no port");
    const starting = startMetricsServer({ host: "127.0.0.1", port }, served, () => undefined);
    await expect(starting).rejects.toThrow(
      new ListenError(
        `Cannot serve metrics on 127.0.0.1:${port}: something listens there already: end it, or give another port with --listen (EADDRINUSE)`,
      ),
    );
    other.close();
  });

  test("the address is another machine's", async () => {
    // RFC 5737: documentation's own.
    const starting = startMetricsServer({ host: "192.0.2.1", port: 0 }, served, () => undefined);
    await expect(starting).rejects.toThrow("this machine has no such address");
  });

  test("nobody listens any more once it has ended, with a client at it", async () => {
    const second = await startMetricsServer({ host: "127.0.0.1", port: 0 }, served, () => undefined);
    const client = connect(second.address.port, "127.0.0.1").on("error", () => undefined);
    await once(client, "connect");
    const ended = once(client, "close");
    await second[Symbol.asyncDispose]();
    await ended;
    await expect(fetch(second.url)).rejects.toThrow("fetch failed");
  });
});

describe("--listen", () => {
  test.each([
    ["9469", "127.0.0.1", 9469],
    ["0.0.0.0:9469", "0.0.0.0", 9469],
    ["host-1.example:1", "host-1.example", 1],
    ["[::1]:65535", "::1", 65535],
  ])("%s is %s, port %i", (text, host, port) => {
    expect(parseListenAddress(text)).toEqual({ host, port });
    expect(addressText({ host, port })).toBe(text.includes(":") ? text : `127.0.0.1:${text}`);
  });

  test.each(["", ":9469", "65536", "::1:9469", "a:b", "a:", "http://a:1", "1.2.3.4", "a b:1", "-1", "9469 "])(
    "%j is none",
    (text) => {
      expect(() => parseListenAddress(text)).toThrow(ListenError);
    },
  );
});
