/** DIMMs: the hypervisor's device, and what the kernel has made of it (a resource, and memory blocks). */
import { formatBytes, type PhysicalRange } from "../layout/range.ts";
import { RangeSet } from "../layout/range-set.ts";
import { SimulationError } from "./error.ts";

/** Bytes of a memory block on x86-64 with less than 64 GiB at boot (probe_memory_block_size, arch/x86/mm/init_64.c). */
export const BLOCK_SIZE: bigint = 128n << 20n;
/** Hot-pluggable address space: QEMU's `maxmem`. */
export const MAX_HOT_MEMORY: bigint = 2n << 40n;

/** A DIMM. `backed` since it was plugged; the kernel comes to know it later, or not, and so do its blocks. */
export interface Dimm {
  readonly id: string;
  readonly slot: number;
  readonly range: PhysicalRange;
  /** Whether the kernel has added it: then it is "System RAM" in /proc/iomem, and has memory blocks. */
  readonly added: boolean;
  /** Blocks that are online, by number within the DIMM. */
  readonly online: ReadonlySet<number>;
}

/** How many memory blocks a DIMM has. */
export function blockCount({ range }: Dimm): number {
  return Number((range.end - range.start) / BLOCK_SIZE);
}

/** Memory of a DIMM that the kernel uses. */
export function onlineMemory({ range, online }: Dimm): RangeSet {
  return RangeSet.of(
    Array.from(online, (block) => {
      const start = range.start + BigInt(block) * BLOCK_SIZE;
      return { start, end: start + BLOCK_SIZE };
    }),
  );
}

/** The DIMM slots of a machine, lowest address first. */
export class DimmSlots {
  readonly #base: bigint;
  readonly #slots: number;
  #dimms: readonly Dimm[] = [];

  /** @param base - where hot-added memory begins. @param slots - how many DIMMs fit. */
  constructor(base: bigint, slots: number) {
    this.#base = base;
    this.#slots = slots;
  }

  /** By address, ascending. */
  get all(): readonly Dimm[] {
    return this.#dimms;
  }

  /**
   * Puts a DIMM of `size` bytes at `place`, or at the lowest address where it fits, as QEMU does.
   *
   * @throws {SimulationError} where the size is no multiple of a memory block, or no slot or address space is left.
   */
  plug(size: bigint, place: bigint = this.#freePlace(size)): Dimm {
    const what = `a DIMM of ${formatBytes(size)}`;
    if (size <= 0n || size % BLOCK_SIZE !== 0n)
      throw new SimulationError(
        what,
        `its size must be a multiple of a memory block, ${formatBytes(BLOCK_SIZE)}`,
      );
    let slot = 0;
    while (this.#dimms.some((dimm) => dimm.slot === slot)) slot++;
    if (slot >= this.#slots)
      throw new SimulationError(what, `all ${this.#slots} DIMM slots of the machine are taken`);
    const start = place;
    if (this.#dimms.some(({ range }) => start < range.end && range.start < start + size))
      throw new SimulationError(what, `it would overlap another one at 0x${start.toString(16)}`);
    if (start + size > this.#base + MAX_HOT_MEMORY)
      throw new SimulationError(
        what,
        `it is larger than what is left of the machine's limit of ${formatBytes(MAX_HOT_MEMORY)}`,
      );
    const dimm: Dimm = {
      id: `dimm${slot}`,
      slot,
      range: { start, end: start + size },
      added: false,
      online: new Set(),
    };
    this.#dimms = [...this.#dimms, dimm].sort((a, b) => (a.range.start < b.range.start ? -1 : 1));
    return dimm;
  }

  /** @throws {SimulationError} where there is none of that name. */
  get(id: string): Dimm {
    const dimm = this.#dimms.find((candidate) => candidate.id === id);
    if (dimm) return dimm;
    const there = this.#dimms.map((candidate) => candidate.id).join(", ");
    throw new SimulationError(
      `DIMM ${JSON.stringify(id)}`,
      `the machine has ${there === "" ? "no DIMMs" : there}`,
    );
  }

  /** Takes the device out. */
  remove(id: string): void {
    this.#dimms = this.#dimms.filter((dimm) => dimm.id !== id);
  }

  /** The kernel has added the DIMM; its blocks are offline. */
  markAdded(id: string): void {
    this.#change(id, (dimm) => ({ ...dimm, added: true }));
  }

  /** The kernel has removed the DIMM, which is still in its slot. */
  markRemoved(id: string): void {
    this.#change(id, (dimm) => ({ ...dimm, added: false, online: new Set() }));
  }

  /** One block of the DIMM goes online or offline. */
  setOnline(id: string, block: number, online: boolean): void {
    this.#change(id, (dimm) => {
      const blocks = new Set(dimm.online);
      if (online) blocks.add(block);
      else blocks.delete(block);
      return { ...dimm, online: blocks };
    });
  }

  #change(id: string, change: (dimm: Dimm) => Dimm): void {
    this.#dimms = this.#dimms.map((dimm) => (dimm.id === id ? change(dimm) : dimm));
  }

  #freePlace(size: bigint): bigint {
    let place = this.#base;
    for (const { range } of this.#dimms) {
      if (place + size <= range.start) return place;
      place = range.end;
    }
    return place;
  }
}
