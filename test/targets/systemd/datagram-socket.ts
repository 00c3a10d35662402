/** A UNIX datagram socket, such as a service manager listens on: a real one. */
import { rmSync } from "node:fs";
import { vi } from "vitest";
import { call, loadSystemCalls, type SystemCalls } from "../../../src/targets/local/system-calls.ts";
import { socketAddress } from "../../../src/targets/systemd/notify-channel.ts";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
/** In one block, because the kernel's structures point at each other: struct msghdr, struct iovec, the message. */
const IOVEC = 56;
const MESSAGE = 128;
const MESSAGE_ROOM = 4096;

export class DatagramSocket implements Disposable {
  readonly name: string;
  readonly #calls: SystemCalls;
  readonly #fd: number;

  private constructor(calls: SystemCalls, name: string) {
    this.name = name;
    this.#calls = calls;
    const type = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    this.#fd = Number(call(calls, "make a socket", "socket", AF_UNIX, type, 0));
    const address = socketAddress(name);
    call(calls, "bind it", "bind", this.#fd, address, address.length);
  }

  /** @param name a path, or `@name`. */
  static async open(name: string): Promise<DatagramSocket> {
    return new DatagramSocket(await loadSystemCalls(), name);
  }

  /** What is there now; undefined where nothing is. */
  receive(): string | undefined {
    const block = new Uint8Array(MESSAGE + MESSAGE_ROOM);
    const view = new DataView(block.buffer);
    const at = this.#calls.addressOf(block);
    view.setBigUint64(16, at + BigInt(IOVEC), true);
    view.setBigUint64(24, 1n, true);
    view.setBigUint64(IOVEC, at + BigInt(MESSAGE), true);
    view.setBigUint64(IOVEC + 8, BigInt(MESSAGE_ROOM), true);
    const { value, errno } = this.#calls.invoke("recvmsg", this.#fd, block, 0);
    if (errno === 11) return undefined;
    if (errno !== 0) throw new Error(`recvmsg: errno ${errno}`);
    return new TextDecoder().decode(block.subarray(MESSAGE, MESSAGE + Number(value)));
  }

  /** Waits for the next one. */
  async next(): Promise<string> {
    return await vi.waitUntil(() => this.receive(), { timeout: 15_000, interval: 5 });
  }

  [Symbol.dispose](): void {
    this.#calls.invoke("close", this.#fd);
    if (!this.name.startsWith("@")) rmSync(this.name, { force: true });
  }
}
