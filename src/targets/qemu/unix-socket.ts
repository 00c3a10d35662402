/** Opens a UNIX stream socket, or says in one sentence why not. */
import { lstat, stat } from "node:fs/promises";
import { connect, type Socket } from "node:net";

import { QmpConnectError, type QmpConnectErrorKind, QmpTimeoutError } from "./qmp-errors.ts";

/** `sun_path` holds 108 bytes with its final zero (unix(7)); libuv cuts longer names without a word. */
const PATH_LIMIT = 107;

const KIND_OF_CODE: Readonly<Record<string, QmpConnectErrorKind>> = {
  ENOENT: "absent",
  ENOTDIR: "absent",
  ENAMETOOLONG: "absent",
  ECONNREFUSED: "refused",
  EACCES: "denied",
  EPERM: "denied",
  // Its backlog is full: QEMU listens with a backlog of one, so two others are waiting already.
  EAGAIN: "busy",
  EPROTOTYPE: "not-qmp",
};

const SENTENCES: Readonly<Record<QmpConnectErrorKind, (path: string) => string>> = {
  absent: (path) =>
    `No socket at "${path}": start QEMU with -qmp unix:${path},server=on,wait=off, or give its path`,
  refused: (path) => `Nobody listens on the socket "${path}": its QEMU has ended; start it again`,
  "not-a-socket": (path) => `"${path}" is not a socket: give the path of QEMU's QMP socket`,
  denied: (path) => `No permission to connect to "${path}": run as the user that runs QEMU, or as root`,
  busy: busySentence,
  "not-qmp": (path) => `"${path}" is a socket, but not a QMP one: give the path of QEMU's -qmp socket`,
};

/** What to tell about a socket that accepts and stays silent. */
export function busySentence(path: string): string {
  return (
    `"${path}" accepts the connection but sends no QMP greeting: another client holds it ` +
    `(a QMP socket serves one at a time), or QEMU stands still; end that client, or add a second -qmp socket to QEMU`
  );
}

/** The system's code in an error, such as `ENOENT`; an empty string where there is none. */
export function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
}

async function classify(error: unknown, path: string): Promise<QmpConnectError> {
  const code = codeOf(error);
  let kind = KIND_OF_CODE[code];
  if (kind === "refused") {
    // connect(2) on a plain file is ECONNREFUSED too.
    const entry = await stat(path).catch(() => undefined);
    if (entry !== undefined && !entry.isSocket()) kind = "not-a-socket";
  } else if (kind === "absent") {
    const link = await lstat(path).catch(() => undefined);
    if (link?.isSymbolicLink() === true) {
      return new QmpConnectError("absent", path, `"${path}" is a link that leads nowhere: start its QEMU`);
    }
  }
  if (kind === undefined) {
    const reason = error instanceof Error ? error.message : String(error);
    return new QmpConnectError("refused", path, `Cannot connect to "${path}": ${reason}`, { cause: error });
  }
  return new QmpConnectError(kind, path, SENTENCES[kind](path), { cause: error });
}

/**
 * Connects to the UNIX socket at `path`.
 *
 * @param timeoutMs limit for the connection itself, milliseconds.
 * @throws {QmpConnectError} where it cannot be opened.
 * @throws {QmpTimeoutError} where the kernel does not answer in time.
 */
export async function openUnixSocket(path: string, timeoutMs: number, signal?: AbortSignal): Promise<Socket> {
  const bytes = Buffer.byteLength(path);
  if (bytes > PATH_LIMIT) {
    throw new QmpConnectError(
      "absent",
      path,
      `"${path}" has ${bytes} bytes and a socket's path may have ${PATH_LIMIT}: use a shorter one`,
    );
  }
  signal?.throwIfAborted();
  const socket = connect({ path });
  try {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(
          new QmpTimeoutError(`Socket "${path}" did not open within ${timeoutMs} ms: try again`, timeoutMs),
        );
      }, timeoutMs);
      const onAbort = (): void => {
        reject(signal?.reason instanceof Error ? signal.reason : new Error("Aborted"));
      };
      const done = (act: () => void): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
        act();
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      socket.once("connect", () => done(resolve));
      socket.once("error", (error) => done(() => reject(error)));
    });
  } catch (error) {
    socket.destroy();
    if (error instanceof QmpTimeoutError || signal?.aborted === true) throw error;
    throw await classify(error, path);
  }
  socket.removeAllListeners("error");
  return socket;
}
