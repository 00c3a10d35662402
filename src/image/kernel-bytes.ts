/** A kernel's text and data, tens of MiB, for searches that look at all of it. */
import type { RangeSet } from "../layout/range-set.ts";
import { PAGE_SIZE } from "./bytes.ts";
import type { PhysicalMemory } from "./memory.ts";
import { borrowRoom, ROOM_BYTES } from "./room.ts";

/** Bytes of the next window that a window has too, so that what begins at its end is seen whole. */
const OVERLAP = PAGE_SIZE;
/** Bytes looked at at a time. */
const WINDOW = ROOM_BYTES - OVERLAP;

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
    const kept = memory.isSlow ? await this.#whole(memory, address, length) : undefined;
    using room = kept ? undefined : borrowRoom(memory);
    for (let offset = 0; offset < length; offset += WINDOW) {
      const size = Math.min(WINDOW + OVERLAP, length - offset);
      const bytes =
        kept?.subarray(offset, offset + size) ??
        (await memory.read(address + BigInt(offset), size, room?.bytes));
      yield { offset, bytes };
    }
  }

  async #whole(memory: PhysicalMemory, address: bigint, length: number): Promise<Uint8Array> {
    if (this.#kept?.address !== address || this.#kept.bytes.length !== length)
      this.#kept = { address, bytes: await memory.read(address, length) };
    return this.#kept.bytes;
  }
}
