/** System calls of this machine whose kexec calls cannot load, replace or unload anything. */
import { closeSync, openSync, readSync } from "node:fs";
import type {
  CallArgument,
  CallResult,
  SystemCallName,
  SystemCalls,
} from "../../../src/targets/local/system-calls.ts";

/** How a call was made. */
export interface MadeCall {
  readonly name: SystemCallName;
  readonly args: readonly CallArgument[];
}

/** Real calls, except for those that `answer` answers. */
export class AnsweredCalls implements SystemCalls {
  readonly made: MadeCall[] = [];
  readonly #calls: SystemCalls;
  readonly #answer: (call: MadeCall) => number | undefined;

  /** @param answer the errno of a call that is not to be made; 0 for success. */
  constructor(calls: SystemCalls, answer: (call: MadeCall) => number | undefined) {
    this.#calls = calls;
    this.#answer = answer;
  }

  invoke(name: SystemCallName, ...args: readonly CallArgument[]): CallResult {
    const made = { name, args };
    this.made.push(made);
    const errno = this.#answer(made);
    if (errno !== undefined) return { value: errno === 0 ? 0n : -1n, errno, milliseconds: 1.5 };
    if (name.startsWith("kexec")) throw new Error("a test is about to load an image");
    return this.#calls.invoke(name, ...args);
  }

  addressOf(bytes: Uint8Array): bigint {
    return this.#calls.addressOf(bytes);
  }

  copy(address: bigint, bytes: Uint8Array): void {
    this.#calls.copy(address, bytes);
  }

  whenReadable(fd: number, readable: () => void): Disposable {
    return this.#calls.whenReadable(fd, readable);
  }
}

/**
 * The real kexec calls with arguments that every kernel refuses before it looks at anything else: more segments than
 * there may be, flags that do not exist.
 */
export class RefusedCalls extends AnsweredCalls {
  readonly #real: SystemCalls;

  constructor(calls: SystemCalls) {
    super(calls, () => undefined);
    this.#real = calls;
  }

  override invoke(name: SystemCallName, ...args: readonly CallArgument[]): CallResult {
    const [first = 0, , third = 0, fourth = 0, flags = 0] = args;
    if (name === "kexec_load") return this.#real.invoke(name, first, 1_000_000, third, fourth);
    if (name === "kexec_file_load")
      return this.#real.invoke(name, -1, -1, third, fourth, BigInt(Number(flags)) | 0xfff0_0000n);
    return super.invoke(name, ...args);
  }
}

/** This process's own memory, as the kernel would read it. @throws where nothing is mapped there. */
export function ownMemory(address: bigint, length: number): Buffer {
  const fd = openSync("/proc/self/mem", "r");
  try {
    const bytes = Buffer.alloc(length);
    readSync(fd, bytes, 0, length, address);
    return bytes;
  } finally {
    closeSync(fd);
  }
}
