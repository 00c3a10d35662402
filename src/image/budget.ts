/** A limit to what one look at a machine's memory may cost: its content is hostile, and must not keep us busy. */
import type { PhysicalRange } from "../layout/range.ts";
import type { PhysicalMemory } from "./memory.ts";

/** What may be read. */
export interface ReadLimits {
  readonly reads: number;
  readonly bytes: number;
}

/** Thrown where a limit would be passed; a clause that says which. */
export class BudgetError extends Error {
  override readonly name = "BudgetError";
}

/** Memory of which only so much is read. Writes pass. */
export class BudgetedMemory implements PhysicalMemory {
  readonly #memory: PhysicalMemory;
  readonly #limits: ReadLimits;
  #reads = 0;
  #bytes = 0;

  constructor(memory: PhysicalMemory, limits: ReadLimits) {
    this.#memory = memory;
    this.#limits = limits;
  }

  get isSlow(): boolean {
    return this.#memory.isSlow ?? false;
  }

  async ranges(): Promise<readonly PhysicalRange[]> {
    return this.#memory.ranges();
  }

  /** @throws {BudgetError} where this read would pass a limit; what the memory itself throws. */
  async read(address: bigint, length: number, into?: Uint8Array): Promise<Uint8Array> {
    if (this.#reads + 1 > this.#limits.reads || this.#bytes + length > this.#limits.bytes) {
      throw new BudgetError(
        `the search was given up after ${this.#reads} reads (${Math.floor(this.#bytes / 1024 ** 2)} MiB): memory holds far more that looks like a part of kdump than any kernel has`,
      );
    }
    this.#reads++;
    this.#bytes += length;
    return this.#memory.read(address, length, into);
  }

  async write(address: bigint, bytes: Uint8Array): Promise<void> {
    return this.#memory.write(address, bytes);
  }
}
