/** A kernel's text and data, tens of MiB, for searches that look at all of it. */
import type { RangeSet } from "../layout/range-set.ts";
import { PAGE_SIZE } from "./bytes.ts";
import type { PhysicalMemory } from "./memory.ts";

/** Bytes looked at at a time: as much as a core's own cache holds. */
const WINDOW = 1024 * 1024;
/** Bytes of the next window that a window has too, so that what begins at its end is seen whole. */
const OVERLAP = PAGE_SIZE;

/** A part of a kernel. */
export interface KernelWindow {
  /** Of `bytes`, counted from the kernel's first byte; a multiple of the page size. */
  readonly offset: number;
  /** Valid until the next window is asked for. */
  readonly bytes: Uint8Array;
}

/** What lies from an address on. */
export interface KernelSpan {
  readonly address: bigint;
  readonly length: number;
  /** All of it in ascending order, each window with the first page of the next. One search at a time. */
  windows(): AsyncIterable<KernelWindow>;
}

/**
 * The kernels that one look reads.
 *
 * They are read once for each search, a window at a time: pages that are new to a process cost more than what is
 * copied into them (42 MiB: 160 ms, and 70 ms more when they are first looked at, against 20 ms through one window, on
 * a virtual machine without huge pages). Where reading is dear they are read once, and kept.
 */
export class KernelBytes {
  /** Made when it is needed: most looks know the kernel, and many guests are looked at at a time. */
  #room: Uint8Array | undefined;
  #kept: { readonly address: bigint; readonly bytes: Uint8Array } | undefined;

  /** `length` bytes from `address` on, fewer where RAM ends; undefined where that is not RAM. */
  span(memory: PhysicalMemory, ram: RangeSet, address: bigint, length: number): KernelSpan | undefined {
    if (address < 0n || address % BigInt(PAGE_SIZE) !== 0n) return undefined;
    const range = ram.ranges.find((r) => r.start <= address && address < r.end);
    if (!range) return undefined;
    const left = range.end - address;
    const all = left < BigInt(length) ? Number(left) : length;
    return { address, length: all, windows: () => this.#windows(memory, address, all) };
  }

  async *#windows(memory: PhysicalMemory, address: bigint, length: number): AsyncGenerator<KernelWindow> {
    for (let offset = 0; offset < length; offset += WINDOW) {
      const size = Math.min(WINDOW + OVERLAP, length - offset);
      yield { offset, bytes: await this.#read(memory, address, length, offset, size) };
    }
  }

  async #read(
    memory: PhysicalMemory,
    address: bigint,
    length: number,
    offset: number,
    size: number,
  ): Promise<Uint8Array> {
    if (!memory.isSlow) {
      this.#room ??= new Uint8Array(WINDOW + OVERLAP);
      return memory.read(address + BigInt(offset), size, this.#room);
    }
    if (this.#kept?.address !== address || this.#kept.bytes.length !== length)
      this.#kept = { address, bytes: await memory.read(address, length) };
    return this.#kept.bytes.subarray(offset, offset + size);
  }
}
