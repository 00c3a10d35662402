/** Sparse physical memory with real bytes, which tells what it was asked for. */
import { MemoryAccessError, type PhysicalMemory } from "../../src/image/memory.ts";
import type { PhysicalRange } from "../../src/layout/range.ts";
import type { RangeSet } from "../../src/layout/range-set.ts";

const PAGE = 4096;

/** One call of `read` or `write`. */
export interface Access {
  readonly address: bigint;
  readonly length: number;
}

export class FakeMemory implements PhysicalMemory {
  readonly reads: Access[] = [];
  readonly writes: Access[] = [];
  rangeCalls = 0;
  /** Runs before each write; what it throws, the write throws, and nothing is written. */
  onWrite: (access: Access) => void = () => undefined;
  /** Runs before each read. */
  onRead: (access: Access) => void = () => undefined;
  readonly #pages = new Map<number, Uint8Array>();
  #ram: RangeSet;

  constructor(ram: RangeSet) {
    this.#ram = ram;
  }

  get ram(): RangeSet {
    return this.#ram;
  }

  setRam(ram: RangeSet): void {
    this.#ram = ram;
  }

  async ranges(): Promise<readonly PhysicalRange[]> {
    this.rangeCalls++;
    return this.#ram.ranges;
  }

  /** Uses the caller's room, as real memory does: who looks at what was read before finds something else there. */
  async read(address: bigint, length: number, into?: Uint8Array): Promise<Uint8Array> {
    this.#check("read", address, length);
    this.onRead({ address, length });
    this.reads.push({ address, length });
    const bytes = this.peek(address, length);
    if (!into) return bytes;
    into.set(bytes);
    return into.subarray(0, length);
  }

  async write(address: bigint, bytes: Uint8Array): Promise<void> {
    this.#check("write", address, bytes.length);
    this.onWrite({ address, length: bytes.length });
    this.writes.push({ address, length: bytes.length });
    this.poke(address, bytes);
  }

  /** What the machine itself reads; not counted. */
  peek(address: bigint, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.#eachPage(address, length, (page, inPage, done, size) => {
      const stored = this.#pages.get(page);
      if (stored) bytes.set(stored.subarray(inPage, inPage + size), done);
    });
    return bytes;
  }

  /** What the machine itself writes; not counted, and the hooks do not see it. */
  poke(address: bigint, bytes: Uint8Array): void {
    this.#eachPage(address, bytes.length, (page, inPage, done, size) => {
      let stored = this.#pages.get(page);
      if (!stored) this.#pages.set(page, (stored = new Uint8Array(PAGE)));
      stored.set(bytes.subarray(done, done + size), inPage);
    });
  }

  /** All bytes as they are, for {@link differences}. */
  snapshot(): ReadonlyMap<number, Uint8Array> {
    return new Map([...this.#pages].map(([page, bytes]) => [page, bytes.slice()]));
  }

  /** Takes the bytes of a snapshot back. */
  restore(snapshot: ReadonlyMap<number, Uint8Array>): void {
    this.#pages.clear();
    for (const [page, bytes] of snapshot) this.#pages.set(page, bytes.slice());
  }

  /** Addresses of the bytes that are not as in `before`. */
  differences(before: ReadonlyMap<number, Uint8Array>): readonly bigint[] {
    const zeros = new Uint8Array(PAGE);
    const found: bigint[] = [];
    for (const page of new Set([...before.keys(), ...this.#pages.keys()])) {
      const a = before.get(page) ?? zeros;
      const b = this.#pages.get(page) ?? zeros;
      if (Buffer.compare(a, b) === 0) continue;
      for (let i = 0; i < PAGE; i++) if (a[i] !== b[i]) found.push(BigInt(page * PAGE + i));
    }
    return found;
  }

  #check(action: "read" | "write", address: bigint, length: number): void {
    const fits = Number.isSafeInteger(length) && length >= 0 && length <= 64 * 1024 * 1024;
    if (!fits || !this.#ram.covers({ start: address, end: address + BigInt(length) })) {
      throw new MemoryAccessError(action, address, length, "not RAM of this machine");
    }
  }

  #eachPage(
    address: bigint,
    length: number,
    visit: (page: number, inPage: number, done: number, size: number) => void,
  ): void {
    const start = Number(address);
    for (let done = 0; done < length;) {
      const inPage = (start + done) % PAGE;
      const size = Math.min(PAGE - inPage, length - done);
      visit((start + done - inPage) / PAGE, inPage, done, size);
      done += size;
    }
  }
}
