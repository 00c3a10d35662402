/**
 * Memory that is there and stays there: what a system call copies out of it is not waited for.
 *
 * `mlockall` would be simpler and kills V8, which reserves far more address space than it uses.
 */
import { PAGE_SIZE } from "../../image/bytes.ts";
import { SystemCallError } from "./errno.ts";
import { call, type SystemCalls } from "./system-calls.ts";

const PROT_READ_WRITE = 3;
const MAP_PRIVATE_ANONYMOUS_POPULATE = 0x02 | 0x20 | 0x8000;

/** One block of it. */
export class LockedMemory implements Disposable {
  readonly #calls: SystemCalls;
  readonly #start: bigint;
  readonly #size: number;
  #used = 0;
  #freed = false;

  /**
   * @param bytes how much there has to be room for; each piece takes whole pages.
   * @throws {SystemCallError} where that much is not free, or may not be locked.
   */
  constructor(calls: SystemCalls, bytes: number) {
    const size = Math.max(1, pagesOf(bytes)) * PAGE_SIZE;
    this.#calls = calls;
    this.#size = size;
    this.#start = call(
      calls,
      `get ${size} bytes of memory`,
      "mmap",
      0,
      size,
      PROT_READ_WRITE,
      MAP_PRIVATE_ANONYMOUS_POPULATE,
      -1,
      0,
    );
    const { errno } = calls.invoke("mlock", this.#start, size);
    if (errno === 0) return;
    this[Symbol.dispose]();
    throw new SystemCallError(
      `lock ${size} bytes of memory (mlock)`,
      errno,
      "more than this process may lock: run it as root, or raise its limit (ulimit -l, LimitMEMLOCK=)",
    );
  }

  /** How much a block has to hold for pieces of these sizes. */
  static roomFor(sizes: readonly number[]): number {
    return sizes.reduce((sum, size) => sum + pagesOf(size) * PAGE_SIZE, 0);
  }

  /** Copies `bytes` to the next free page. @returns their address. @throws {RangeError} where there is no room. */
  place(bytes: Uint8Array): bigint {
    if (this.#freed) throw new RangeError("Cannot place bytes in memory that was given back");
    const size = pagesOf(bytes.length) * PAGE_SIZE;
    if (size > this.#size - this.#used)
      throw new RangeError(
        `Cannot place ${bytes.length} bytes: ${this.#size - this.#used} of ${this.#size} are free`,
      );
    const address = this.#start + BigInt(this.#used);
    this.#used += size;
    this.#calls.copy(address, bytes);
    return address;
  }

  /** Gives it back; addresses in it are no good any more. */
  [Symbol.dispose](): void {
    if (this.#freed) return;
    this.#freed = true;
    this.#calls.invoke("munmap", this.#start, this.#size);
  }
}

function pagesOf(bytes: number): number {
  return Math.ceil(bytes / PAGE_SIZE);
}
