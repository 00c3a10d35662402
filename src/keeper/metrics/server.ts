/**
 * /metrics, /healthz and /readyz over HTTP. It reads nothing but a request's first lines, and a client that is slow, or
 * many, or sends what is no HTTP costs it a socket for some seconds and nothing else.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { addressText, type ListenAddress, listenError } from "./listen-address.ts";
import type { MetricsSource } from "./service-metrics.ts";

/** What is served. Each of the two says in one clause why not, or undefined. */
export interface Served {
  readonly metrics: MetricsSource;
  /** Why the process should be ended and started again. */
  readonly notAlive: () => string | undefined;
  /** Why not every target has had its first look. */
  readonly notReady: () => string | undefined;
}

export interface ServerLimits {
  /** From a connection's first byte until the last one of its request's head, ms. */
  readonly headMs: number;
  /** Without a byte in either direction, ms: for clients that do not read. */
  readonly idleMs: number;
  /** At one time; more are closed at once. */
  readonly connections: number;
}

const LIMITS: ServerLimits = { headMs: 5000, idleMs: 10_000, connections: 64 };
/** A scraper sends some hundred bytes. */
const MAX_HEADER_BYTES = 8192;
/** Headers that are one letter long each. */
const MAX_HEADERS = 64;

export interface MetricsServer extends AsyncDisposable {
  /** Where it listens; the port is known even where any was asked for. */
  readonly address: ListenAddress;
  /** `http://127.0.0.1:9469/metrics` */
  readonly url: string;
}

/**
 * Listens, until it is disposed of.
 *
 * @param onTrouble told, in a sentence, what goes wrong later on.
 * @throws {ListenError} where nobody can listen there.
 */
export async function startMetricsServer(
  wanted: ListenAddress,
  served: Served,
  onTrouble: (sentence: string) => void,
  limits: Partial<ServerLimits> = {},
): Promise<MetricsServer> {
  const { headMs, idleMs, connections } = { ...LIMITS, ...limits };
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: headMs,
      requestTimeout: headMs,
      keepAliveTimeout: idleMs,
      // Else the two limits above are looked at twice a minute only.
      connectionsCheckingInterval: Math.max(50, Math.floor(headMs / 5)),
    },
    (request, response) => void answer(request, response, served, onTrouble),
  );
  server.maxHeadersCount = MAX_HEADERS;
  server.maxConnections = connections;
  server.setTimeout(idleMs, (socket) => socket.destroy());
  server.on("clientError", refuse);
  // Nothing is switched over to: without a listener node would hand the socket to nobody.
  server.on("upgrade", (_, socket) => socket.destroy());
  server.on("connect", (_, socket) => socket.destroy());
  await listen(server, wanted);
  server.on("error", (error) => onTrouble(`The metrics server has trouble: ${error.message}`));
  const bound = server.address();
  const port = bound !== null && typeof bound === "object" ? bound.port : wanted.port;
  const address = { host: wanted.host, port };
  return {
    address,
    url: `http://${addressText(address)}/metrics`,
    [Symbol.asyncDispose]: async () => {
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}

async function listen(server: Server, address: ListenAddress): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host: address.host, port: address.port }, () => {
        server.off("error", reject);
        resolve();
      });
    });
  } catch (error) {
    throw listenError(address, error);
  }
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  served: Served,
  onTrouble: (sentence: string) => void,
): Promise<void> {
  // Whoever sends a body is not read to its end, and his connection is not used again.
  const hasBody =
    request.headers["content-length"] !== undefined || request.headers["transfer-encoding"] !== undefined;
  if (hasBody) response.setHeader("connection", "close");
  response.on("error", () => undefined);
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("allow", "GET, HEAD");
    send(response, 405, "Only GET and HEAD are answered\n");
    return;
  }
  try {
    // Nobody's query changes anything.
    const [path] = (request.url ?? "").split("?", 1);
    switch (path) {
      case "/metrics": {
        const text = await served.metrics.text();
        send(response, 200, text, served.metrics.contentType);
        return;
      }
      case "/healthz":
        sendState(response, served.notAlive());
        return;
      case "/readyz":
        sendState(response, served.notReady());
        return;
      default:
        send(response, 404, "There are /metrics, /healthz and /readyz\n");
    }
  } catch (error) {
    onTrouble(
      `A request for metrics could not be answered: ${error instanceof Error ? error.message : String(error)}`,
    );
    send(response, 500, "The metrics could not be read; the keeper's log says why\n");
  }
}

function sendState(response: ServerResponse, why: string | undefined): void {
  if (why === undefined) send(response, 200, "yes\n");
  else send(response, 503, `no: ${why}\n`);
}

function send(
  response: ServerResponse,
  status: number,
  text: string,
  type = "text/plain; charset=utf-8",
): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(status, {
    "content-type": type,
    "content-length": Buffer.byteLength(text),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  });
  // For HEAD node leaves the text out.
  response.end(text);
}

/** What is no HTTP request that we read: too slow, too long, or something else. */
function refuse(error: Error, socket: Duplex): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const code = "code" in error ? error.code : undefined;
  const status =
    code === "HPE_HEADER_OVERFLOW"
      ? "431 Request Header Fields Too Large"
      : code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? "408 Request Timeout"
        : "400 Bad Request";
  // As few bytes as these go to the kernel at once, whether or not he ever reads them.
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () => socket.destroy());
}
