/** A netlink socket on which the kernel tells of its devices. */
import { SystemCallError } from "./errno.ts";
import { call, type SystemCalls } from "./system-calls.ts";
import { LARGEST_UEVENT } from "./uevent.ts";

/** What was in the socket. */
export type Received =
  /** The kernel's own; `datagram` is good until the next call. Cut short where it was larger than any that it sends. */
  | { readonly kind: "uevent"; readonly datagram: Uint8Array }
  /** Sent by a process: root may send to that group, and nobody else's word counts. */
  | { readonly kind: "foreign" }
  /** Some were thrown away for want of room. */
  | { readonly kind: "overrun" }
  /** Nothing; for now. */
  | { readonly kind: "empty" };

/** Where uevents come from. */
export interface UeventSource extends Disposable {
  /** The next one, without waiting. @throws {SystemCallError} where nothing can be received any more. */
  receive(): Received;
  /** Calls `readable` whenever there is something to be received. Ends with the returned value, or with the source. */
  onReadable(readable: () => void): Disposable;
}

// include/uapi/linux/netlink.h, asm-generic/socket.h, linux/socket.h: as x86-64 has them.
const AF_NETLINK = 16;
const NETLINK_KOBJECT_UEVENT = 15;
const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_PASSCRED = 16;
const SO_RCVBUFFORCE = 33;
const SCM_CREDENTIALS = 2;
const MSG_DONTWAIT = 0x40;
/** What the kernel sends; group 2 is what udevd passes on when its rules have run. */
const KERNEL_GROUP = 1;
const EAGAIN = 11;
const EINTR = 4;
const ENOBUFS = 105;

/** As systemd-udevd has it: 480 GiB of DIMMs are 7,680 events at once. Memory is taken only for what waits in it. */
const RECEIVE_BUFFER = 128 * 1024 * 1024;

/** Offsets in one block of memory, because the kernel's structures point at each other. */
const MSGHDR = 0;
const IOVEC = 56;
const SENDER = 72;
const CONTROL = 96;
const DATAGRAM = 256;
/** struct sockaddr_nl { u16 family; u16 pad; u32 pid; u32 groups } */
const SOCKADDR_NL = 12;
/** CMSG_SPACE of a struct ucred { pid, uid, gid }, and room for whatever else comes before it. */
const CONTROL_ROOM = DATAGRAM - CONTROL;
const CMSG_HEADER = 16;
const UCRED = 12;

/**
 * Opens the socket; anybody may, the kernel's word is public.
 *
 * @param receiveBuffer bytes that may wait in it. More than the system's limit (net.core.rmem_max) only for root.
 * @throws {SystemCallError} where the kernel has no such sockets, or the caller may have none.
 */
export function openUeventSocket(calls: SystemCalls, receiveBuffer: number = RECEIVE_BUFFER): UeventSource {
  const type = SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const fd = Number(call(calls, "listen to uevents", "socket", AF_NETLINK, type, NETLINK_KOBJECT_UEVENT));
  try {
    // Before it is bound, so that no message is there without them.
    call(calls, "ask for the senders of uevents", "setsockopt", fd, SOL_SOCKET, SO_PASSCRED, int32(1), 4);
    const forced = calls.invoke("setsockopt", fd, SOL_SOCKET, SO_RCVBUFFORCE, int32(receiveBuffer), 4);
    // Not root: the kernel cuts it down to its limit without an error.
    if (forced.errno !== 0) calls.invoke("setsockopt", fd, SOL_SOCKET, SO_RCVBUF, int32(receiveBuffer), 4);
    const address = new Uint8Array(SOCKADDR_NL);
    const view = new DataView(address.buffer);
    view.setUint16(0, AF_NETLINK, true);
    view.setUint32(8, KERNEL_GROUP, true);
    call(calls, "listen to uevents", "bind", fd, address, SOCKADDR_NL);
    return new UeventSocket(calls, fd);
  } catch (error) {
    calls.invoke("close", fd);
    throw error;
  }
}

class UeventSocket implements UeventSource {
  readonly #calls: SystemCalls;
  readonly #block = new Uint8Array(DATAGRAM + LARGEST_UEVENT + 1);
  readonly #view = new DataView(this.#block.buffer);
  readonly #address: bigint;
  readonly #fd: number;
  readonly #polls = new Set<Disposable>();
  #closed = false;

  constructor(calls: SystemCalls, fd: number) {
    this.#calls = calls;
    this.#fd = fd;
    this.#address = calls.addressOf(this.#block);
  }

  receive(): Received {
    if (this.#closed) throw new Error("Cannot receive uevents: the socket was closed");
    this.#prepare();
    // The block is named as bytes, not by its address, so that it stays where it is during the call.
    const { value, errno } = this.#calls.invoke("recvmsg", this.#fd, this.#block, MSG_DONTWAIT);
    if (errno === EAGAIN || errno === EINTR) return { kind: "empty" };
    if (errno === ENOBUFS) return { kind: "overrun" };
    if (errno !== 0)
      throw new SystemCallError("receive uevents (recvmsg)", errno, "the socket is of no use any more");
    if (!this.#isKernels()) return { kind: "foreign" };
    return { kind: "uevent", datagram: this.#block.subarray(DATAGRAM, DATAGRAM + Number(value)) };
  }

  onReadable(readable: () => void): Disposable {
    const poll = this.#calls.whenReadable(this.#fd, readable);
    this.#polls.add(poll);
    return {
      [Symbol.dispose]: () => {
        if (this.#polls.delete(poll)) poll[Symbol.dispose]();
      },
    };
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const poll of this.#polls) poll[Symbol.dispose]();
    this.#polls.clear();
    this.#calls.invoke("close", this.#fd);
  }

  /** struct msghdr, with struct iovec, the sender's address and the control messages behind it. */
  #prepare(): void {
    this.#block.fill(0, 0, DATAGRAM);
    this.#view.setBigUint64(MSGHDR, this.#at(SENDER), true);
    this.#view.setUint32(MSGHDR + 8, SOCKADDR_NL, true);
    this.#view.setBigUint64(MSGHDR + 16, this.#at(IOVEC), true);
    this.#view.setBigUint64(MSGHDR + 24, 1n, true);
    this.#view.setBigUint64(MSGHDR + 32, this.#at(CONTROL), true);
    this.#view.setBigUint64(MSGHDR + 40, BigInt(CONTROL_ROOM), true);
    this.#view.setBigUint64(IOVEC, this.#at(DATAGRAM), true);
    this.#view.setBigUint64(IOVEC + 8, BigInt(this.#block.length - DATAGRAM), true);
  }

  #at(offset: number): bigint {
    return this.#address + BigInt(offset);
  }

  /** Sent by the kernel: port 0, and credentials of nobody (process 0) and root. Both have to be there. */
  #isKernels(): boolean {
    const addressed =
      this.#view.getUint32(MSGHDR + 8, true) === SOCKADDR_NL &&
      this.#view.getUint16(SENDER, true) === AF_NETLINK &&
      this.#view.getUint32(SENDER + 4, true) === 0;
    const length = Number(this.#view.getBigUint64(MSGHDR + 40, true));
    for (let at = CONTROL; at + CMSG_HEADER <= CONTROL + Math.min(length, CONTROL_ROOM);) {
      const size = Number(this.#view.getBigUint64(at, true));
      const level = this.#view.getInt32(at + 8, true);
      const kind = this.#view.getInt32(at + 12, true);
      if (level === SOL_SOCKET && kind === SCM_CREDENTIALS && size === CMSG_HEADER + UCRED) {
        const process = this.#view.getInt32(at + CMSG_HEADER, true);
        const user = this.#view.getUint32(at + CMSG_HEADER + 4, true);
        return addressed && process === 0 && user === 0;
      }
      if (size < CMSG_HEADER) return false;
      at += Math.ceil(size / 8) * 8;
    }
    return false;
  }
}

function int32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value, true);
  return bytes;
}
