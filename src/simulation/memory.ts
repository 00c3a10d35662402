/** Sparse physical memory: pages come into being when they are written, and read as zeros before. */
import { PAGE_SIZE } from "../image/bytes.ts";
import { MemoryAccessError, type PhysicalMemory } from "../image/memory.ts";
import type { PhysicalRange } from "../layout/range.ts";
import { RangeSet } from "../layout/range-set.ts";

/** Bytes of one read or write; a caller that asks for more has lost count. */
const MAX_ACCESS = 1024 ** 3;

/**
 * A machine's memory with real bytes.
 *
 * `read` and `write` are the port for those who look from outside and check that all of a span is RAM. `peek` and
 * `poke` are the machine's own: they take any address, what is not RAM reads as zeros (QEMU's unassigned memory
 * does), and what is written there is lost.
 */
export class SparseMemory implements PhysicalMemory {
  readonly #pages: Map<number, Uint8Array>;
  /** Pages that no {@link fork} has in common with us: the others are copied before they change. */
  readonly #own = new Set<number>();
  #ram: RangeSet;

  constructor(ram: RangeSet, pages: Map<number, Uint8Array> = new Map()) {
    this.#ram = ram;
    this.#pages = pages;
  }

  /** Memory that exists now. */
  get ram(): RangeSet {
    return this.#ram;
  }

  /** Bytes of host memory that hold pages. */
  get residentBytes(): number {
    return this.#pages.size * PAGE_SIZE;
  }

  /** Pages that were written; all others hold zeros. */
  get written(): RangeSet {
    return RangeSet.of(
      Array.from(this.#pages.keys(), (page) => ({
        start: BigInt(page) * BigInt(PAGE_SIZE),
        end: BigInt(page + 1) * BigInt(PAGE_SIZE),
      })),
    );
  }

  /** Memory appears; it holds zeros. */
  add(range: PhysicalRange): void {
    this.#ram = this.#ram.union(RangeSet.of([range]));
  }

  /** Memory goes, and its bytes with it. @param range - whole pages. */
  remove(range: PhysicalRange): void {
    this.#ram = this.#ram.subtract(RangeSet.of([range]));
    const first = Number(range.start) / PAGE_SIZE;
    const end = Number(range.end) / PAGE_SIZE;
    for (const page of this.#pages.keys()) if (page >= first && page < end) this.#pages.delete(page);
  }

  /** An independent copy with the same bytes. A page is copied when either side writes it: every panic takes a fork. */
  fork(): SparseMemory {
    this.#own.clear();
    return new SparseMemory(this.#ram, new Map(this.#pages));
  }

  async ranges(): Promise<readonly PhysicalRange[]> {
    return this.#ram.ranges;
  }

  async read(address: bigint, length: number): Promise<Uint8Array> {
    this.#check("read", address, length);
    return this.peek(address, length);
  }

  async write(address: bigint, bytes: Uint8Array): Promise<void> {
    this.#check("write", address, bytes.length);
    this.poke(address, bytes);
  }

  /** `length` bytes at physical `address`, as the machine itself sees them. */
  peek(address: bigint, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    eachPage(address, length, (page, inPage, done, size) => {
      const stored = this.#pages.get(page);
      if (stored) bytes.set(stored.subarray(inPage, inPage + size), done);
    });
    return bytes;
  }

  /** Stores `bytes` at physical `address`, as the machine itself does. */
  poke(address: bigint, bytes: Uint8Array): void {
    eachPage(address, bytes.length, (page, inPage, done, size) => {
      const stored = this.#pages.get(page);
      if (!stored && !this.#ram.contains(BigInt(page) * BigInt(PAGE_SIZE))) return;
      if (stored && this.#own.has(page)) {
        stored.set(bytes.subarray(done, done + size), inPage);
        return;
      }
      const mine = stored?.slice() ?? new Uint8Array(PAGE_SIZE);
      mine.set(bytes.subarray(done, done + size), inPage);
      this.#pages.set(page, mine);
      this.#own.add(page);
    });
  }

  #check(action: "read" | "write", address: bigint, length: number): void {
    const fits = Number.isSafeInteger(length) && length >= 0 && length <= MAX_ACCESS && address >= 0n;
    if (fits && length === 0) return;
    if (!fits || !this.#ram.covers({ start: address, end: address + BigInt(length) }))
      throw new MemoryAccessError(action, address, length, "not RAM of the simulated machine");
  }
}

function eachPage(
  address: bigint,
  length: number,
  visit: (page: number, inPage: number, done: number, size: number) => void,
): void {
  const start = Number(address);
  for (let done = 0; done < length;) {
    const inPage = (start + done) % PAGE_SIZE;
    const size = Math.min(PAGE_SIZE - inPage, length - done);
    visit((start + done - inPage) / PAGE_SIZE, inPage, done, size);
    done += size;
  }
}
