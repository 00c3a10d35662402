/** A file with the boot RAM of a simulated machine, as a QEMU with share=on has one. */
import { closeSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { PAGE_SIZE } from "../../../src/image/bytes.ts";
import { type PhysicalRange, rangeBytes } from "../../../src/layout/range.ts";
import type { RangeSet } from "../../../src/layout/range-set.ts";
import type { SparseMemory } from "../../../src/simulation/memory.ts";
import { SAMPLES } from "../../../src/targets/qemu/verify-block.ts";

/** A piece of RAM is believed to lie in a file where some of its pages agree: each has so many that are not zeros. */
const MARKED_PAGES = 16;

/** Ranges of RAM lie in it one behind the other. Close it. */
export class SimRamFile implements Disposable {
  readonly path: string;
  readonly #fd: number;
  readonly #memory: SparseMemory;
  readonly #ram: RangeSet;
  /** What whoever writes to the file may have written to. */
  readonly #watched: RangeSet;

  /** @param watched is taken over from the file by {@link takeOver}. */
  constructor(path: string, memory: SparseMemory, ram: RangeSet, watched: RangeSet) {
    this.path = path;
    this.#memory = memory;
    this.#ram = ram;
    this.#watched = watched;
    this.#fd = openSync(path, "w+");
    ftruncateSync(this.#fd, Number(ram.bytes));
    for (const range of ram.ranges) this.#mark(range);
    for (const range of memory.written.ranges) {
      const offset = this.#offsetOf(range.start);
      if (offset !== undefined)
        writeSync(this.#fd, memory.peek(range.start, Number(rangeBytes(range))), 0, undefined, offset);
    }
  }

  /** What was written to the file is the machine's own from here on. */
  takeOver(): void {
    const written = this.#memory.written.intersect(this.#watched);
    for (const { start, end } of written.ranges) {
      const bytes = Buffer.alloc(Number(end - start));
      readSync(this.#fd, bytes, 0, bytes.length, this.#offsetOf(start)!);
      if (!bytes.equals(this.#memory.peek(start, bytes.length))) this.#memory.poke(start, bytes);
    }
  }

  /** Where keepers take their samples. */
  #mark({ start, end }: PhysicalRange): void {
    const pages = Number((end - start) / BigInt(PAGE_SIZE));
    const step = Math.max(1, Math.ceil(pages / SAMPLES));
    for (let i = 0; i < MARKED_PAGES && i * step < pages; i++) {
      const address = start + BigInt(i * step * PAGE_SIZE);
      if (this.#memory.peek(address, PAGE_SIZE).every((byte) => byte === 0))
        this.#memory.poke(address, Uint8Array.of(1));
    }
  }

  #offsetOf(address: bigint): number | undefined {
    let offset = 0n;
    for (const range of this.#ram.ranges) {
      if (range.start <= address && address < range.end) return Number(offset + address - range.start);
      offset += rangeBytes(range);
    }
    return undefined;
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
