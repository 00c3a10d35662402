/**
 * System calls that Node has no words for: netlink, kexec_load, mlock. Made by their numbers through koffi, which is
 * an optional package: where it is missing, one error says so and everything else works without it.
 */
import { arch, platform } from "node:process";
import { SystemCallError } from "./errno.ts";

/** arch/x86/entry/syscalls/syscall_64.tbl: other architectures have other numbers, and structures of other shapes. */
const NUMBERS = {
  close: 3,
  mmap: 9,
  munmap: 11,
  socket: 41,
  sendto: 44,
  recvmsg: 47,
  bind: 49,
  setsockopt: 54,
  mlock: 149,
  epoll_ctl: 233,
  kexec_load: 246,
  epoll_create1: 291,
  kexec_file_load: 320,
} as const;

/** A system call by its name. */
export type SystemCallName = keyof typeof NUMBERS;

/** What the kernel answered. */
export interface CallResult {
  /** What the call returned; meaningless where `errno` is not 0. */
  readonly value: bigint;
  /** 0 where it succeeded. */
  readonly errno: number;
  /** From right before the call until right after it, ms. */
  readonly milliseconds: number;
}

/**
 * A number: 64 bits wide, as in a register, negative ones in two's complement. Or bytes: the call gets their address, and
 * may write to them.
 */
export type CallArgument = bigint | number | Uint8Array;

/** The kernel of this machine. */
export interface SystemCalls {
  invoke(name: SystemCallName, ...args: readonly CallArgument[]): CallResult;
  /**
   * The address of the memory of `bytes`, for structures that hold pointers. They have to be a whole ArrayBuffer of more
   * than 64 bytes (V8 moves smaller ones), and the address is valid as long as something refers to `bytes`.
   */
  addressOf(bytes: Uint8Array): bigint;
  /** Copies `bytes` to `address`, which has to be mapped and writable: nothing checks that. */
  copy(address: bigint, bytes: Uint8Array): void;
  /**
   * Calls `readable` from the event loop each time that it finds bytes to be read behind `fd`, and for as long as they
   * are not read. No thread waits meanwhile, and nothing wakes up where nothing comes.
   *
   * @returns ends it, at once; to be done before `fd` is closed.
   */
  whenReadable(fd: number, readable: () => void): Disposable;
}

/** Raised where system calls cannot be made at all. */
export class NoSystemCallsError extends Error {
  override readonly name = "NoSystemCallsError";
}

/** What is used of koffi. */
interface Koffi {
  readonly version: string;
  load(path: null): { func(prototype: string): (...args: readonly unknown[]) => unknown };
  errno(): number;
  address(bytes: Uint8Array): unknown;
  readonly node: {
    poll(fd: number, events: { readonly readable: boolean }, ready: () => void): { close(): void };
  };
}

/** Not written where it is used: a compiler that looks for the package would need it to be there. */
const PACKAGE: string = "koffi";

/**
 * Loads koffi.
 *
 * @param load imports the package.
 * @throws {NoSystemCallsError} where it is not installed, is none that can be used, or this is no Linux on x86-64.
 */
export async function loadSystemCalls(
  load: () => Promise<unknown> = async () => await import(PACKAGE),
  machine: { readonly platform: string; readonly arch: string } = { platform, arch },
): Promise<SystemCalls> {
  if (machine.platform !== "linux" || machine.arch !== "x64") {
    throw new NoSystemCallsError(
      `Cannot make system calls: this is ${machine.platform} on ${machine.arch}, and only the calls of Linux on x86-64 (x64) are known`,
    );
  }
  let koffi: unknown;
  try {
    koffi = await load();
  } catch (error) {
    const reason = error instanceof Error ? error.message.split("\n")[0] : String(error);
    throw new NoSystemCallsError(
      `Cannot make system calls: the optional package ${PACKAGE} is not installed or does not load (${reason}): install it with npm, beside this program`,
      { cause: error },
    );
  }
  if (!isKoffi(koffi)) {
    throw new NoSystemCallsError(
      `Cannot make system calls: the installed package ${PACKAGE} has not all of load, errno, address and node.poll, which version 3.3 has: install that one`,
    );
  }
  return new KoffiCalls(koffi);
}

/** Makes a call that has to succeed. @throws {SystemCallError} where it does not; `action` says what it was for. */
export function call(
  calls: SystemCalls,
  action: string,
  name: SystemCallName,
  ...args: readonly CallArgument[]
): bigint {
  const { value, errno } = calls.invoke(name, ...args);
  if (errno !== 0) throw new SystemCallError(`${action} (${name})`, errno);
  return value;
}

function isKoffi(value: unknown): value is Koffi {
  if (!isObject(value)) return false;
  const { load, errno, address, node } = value;
  return (
    typeof load === "function" &&
    typeof errno === "function" &&
    typeof address === "function" &&
    isObject(node) &&
    typeof node["poll"] === "function"
  );
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

class KoffiCalls implements SystemCalls {
  readonly #koffi: Koffi;
  readonly #syscall: (...args: readonly unknown[]) => unknown;
  readonly #memcpy: (...args: readonly unknown[]) => unknown;

  constructor(koffi: Koffi) {
    this.#koffi = koffi;
    // Of the running process itself: its C library has another file name on each distribution.
    const libc = koffi.load(null);
    this.#syscall = libc.func("long syscall(long number, ...)");
    this.#memcpy = libc.func("void *memcpy(uint64_t to, const uint8_t *from, size_t bytes)");
  }

  invoke(name: SystemCallName, ...args: readonly CallArgument[]): CallResult {
    const typed = args.flatMap<unknown>((arg) =>
      arg instanceof Uint8Array ? ["void *", arg] : ["uint64_t", BigInt.asUintN(64, BigInt(arg))],
    );
    const started = performance.now();
    const returned = this.#syscall(NUMBERS[name], ...typed);
    const milliseconds = performance.now() - started;
    const errno = returned === -1 ? this.#koffi.errno() : 0;
    return { value: integer(returned), errno, milliseconds };
  }

  addressOf(bytes: Uint8Array): bigint {
    if (bytes.buffer.byteLength <= 64 || bytes.byteLength !== bytes.buffer.byteLength)
      throw new RangeError(
        `Cannot take the address of ${bytes.byteLength} bytes of a buffer of ${bytes.buffer.byteLength}: expected all of more than 64`,
      );
    return integer(this.#koffi.address(bytes));
  }

  copy(address: bigint, bytes: Uint8Array): void {
    this.#memcpy(address, bytes, bytes.length);
  }

  whenReadable(fd: number, readable: () => void): Disposable {
    let closed = false;
    // libuv gives up a descriptor on POLLERR, which is how netlink tells of an overrun: the handle would be dead from
    // then on. An epoll descriptor around it has no errors of its own.
    const epoll = Number(call(this, "wait for a descriptor", "epoll_create1", EPOLL_CLOEXEC));
    try {
      // struct epoll_event { u32 events; u64 data } __packed
      const event = Uint8Array.of(EPOLLIN, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
      call(this, "wait for a descriptor", "epoll_ctl", epoll, EPOLL_CTL_ADD, fd, event);
      const handle = this.#koffi.node.poll(epoll, { readable: true }, () => {
        // Nothing may be thrown at koffi; the loop comes to this before it polls again.
        setImmediate(() => {
          if (!closed) readable();
        });
      });
      return {
        [Symbol.dispose]: () => {
          if (closed) return;
          closed = true;
          handle.close();
          this.invoke("close", epoll);
        },
      };
    } catch (error) {
      this.invoke("close", epoll);
      throw error;
    }
  }
}

const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLLIN = 1;

/** koffi gives a number where it is exact, else a bigint. */
function integer(value: unknown): bigint {
  if (typeof value !== "number" && typeof value !== "bigint")
    throw new TypeError(`Expected an integer from koffi, got ${typeof value}`);
  return BigInt(value);
}
