/**
 * The way to a service manager: datagrams to the UNIX socket that NOTIFY_SOCKET names (sd_notify(3)). Node has no
 * datagram sockets of that family, so it is system calls, or, without koffi, the program systemd-notify.
 */
import { execFile } from "node:child_process";
import { errnoName } from "../local/errno.ts";
import { call, loadSystemCalls, type SystemCalls } from "../local/system-calls.ts";

/** Sends one message, whole. */
export interface NotifyChannel extends Disposable {
  /** @throws {NotifyError} where it does not arrive within some seconds. */
  send(message: string): Promise<void>;
}

/** Raised where the service manager cannot be told of what it waits for. */
export class NotifyError extends Error {
  override readonly name = "NotifyError";
}

/** Runs a program to its end, within `limitMs`; rejects where it fails. */
export type RunNotify = (
  program: string,
  args: readonly string[],
  options: { readonly env: NodeJS.ProcessEnv; readonly limitMs: number },
) => Promise<void>;

export interface ChannelOptions {
  readonly loadCalls?: () => Promise<SystemCalls>;
  readonly run?: RunNotify;
}

// include/linux/socket.h, as x86-64 has them.
const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** struct sockaddr_un { u16 family; char path[108] } */
const PATH_ROOM = 108;

const EINTR = 4;
const EAGAIN = 11;
const ENOBUFS = 105;
const LIMIT_MS = 1000;
/** It starts a program, which then waits (BARRIER=1) until the manager has looked who it was. */
const PROGRAM_LIMIT_MS = 5000;
const AGAIN_MS = 20;

/**
 * Opens the way to the socket of that name: an absolute path, or `@name` in the abstract namespace.
 *
 * @throws {NotifyError} where the name is neither.
 */
export async function openNotifyChannel(name: string, options: ChannelOptions = {}): Promise<NotifyChannel> {
  const address = socketAddress(name);
  let calls: SystemCalls;
  try {
    calls = await (options.loadCalls ?? loadSystemCalls)();
  } catch (error) {
    return new ProgramChannel(name, options.run ?? runNotify, error);
  }
  return new SocketChannel(calls, name, address);
}

/** struct sockaddr_un. @throws {NotifyError} where `name` is no socket's name. */
export function socketAddress(name: string): Uint8Array {
  const path = Buffer.from(name, "utf8");
  const isAbstract = name.startsWith("@");
  // A path needs its final zero; an abstract name is as long as the address says.
  const room = isAbstract ? PATH_ROOM : PATH_ROOM - 1;
  if (!(isAbstract || name.startsWith("/")) || path.length < 2 || path.length > room || path.includes(0))
    throw new NotifyError(
      `NOTIFY_SOCKET is "${name}": expected an absolute path or @name of at most ${room} bytes; start the keeper without it, or with the one that systemd sets`,
    );
  const address = new Uint8Array(2 + path.length + (isAbstract ? 0 : 1));
  address[0] = AF_UNIX;
  address.set(path, 2);
  if (isAbstract) address[2] = 0;
  return address;
}

class SocketChannel implements NotifyChannel {
  readonly #calls: SystemCalls;
  readonly #name: string;
  readonly #address: Uint8Array;
  readonly #fd: number;
  #closed = false;

  constructor(calls: SystemCalls, name: string, address: Uint8Array) {
    this.#calls = calls;
    this.#name = name;
    this.#address = address;
    const type = SOCK_DGRAM | SOCK_CLOEXEC;
    this.#fd = Number(call(calls, "tell the service manager", "socket", AF_UNIX, type, 0));
  }

  async send(message: string): Promise<void> {
    const bytes = new TextEncoder().encode(message);
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    const until = performance.now() + LIMIT_MS;
    for (;;) {
      if (this.#closed) throw new NotifyError("Cannot tell the service manager: the channel was closed");
      const { errno } = this.#calls.invoke(
        "sendto",
        this.#fd,
        bytes,
        bytes.length,
        flags,
        this.#address,
        this.#address.length,
      );
      if (errno === 0) return;
      const isFull = errno === EAGAIN || errno === ENOBUFS || errno === EINTR;
      if (!isFull || performance.now() > until)
        throw new NotifyError(
          `Cannot tell the service manager at "${this.#name}": ${errnoName(errno)}${isFull ? `, it has not read its messages for ${LIMIT_MS / 1000} s` : ""}`,
        );
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#calls.invoke("close", this.#fd);
  }
}

/** The manager takes its word only where the unit has NotifyAccess=all: it is another process than the keeper. */
class ProgramChannel implements NotifyChannel {
  readonly #name: string;
  readonly #run: RunNotify;
  readonly #why: unknown;

  constructor(name: string, run: RunNotify, why: unknown) {
    this.#name = name;
    this.#run = run;
    this.#why = why;
  }

  async send(message: string): Promise<void> {
    try {
      const env = { ...process.env, NOTIFY_SOCKET: this.#name };
      await this.#run("systemd-notify", message.split("\n"), { env, limitMs: PROGRAM_LIMIT_MS });
    } catch (error) {
      const reason = error instanceof Error ? error.message.trim() : String(error);
      const why = this.#why instanceof Error ? this.#why.message : String(this.#why);
      throw new NotifyError(
        `Cannot tell the service manager at "${this.#name}": neither by system calls (${why}) nor by systemd-notify (${reason})`,
        { cause: error },
      );
    }
  }

  [Symbol.dispose](): void {
    // Nothing is held.
  }
}

const runNotify: RunNotify = async (program, args, { env, limitMs }) => {
  await new Promise<void>((resolve, reject) => {
    execFile(program, args, { env, timeout: limitMs, killSignal: "SIGKILL" }, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
};
