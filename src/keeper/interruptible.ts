/** Memory whose reading can be broken off: hashing an image takes a while, and something more urgent may come. */
import type { PhysicalMemory } from "../image/memory.ts";
import type { PhysicalRange } from "../layout/range.ts";

/** `memory` itself where there is no signal. */
export function interruptible(memory: PhysicalMemory, signal: AbortSignal | undefined): PhysicalMemory {
  return signal ? new InterruptibleMemory(memory, signal) : memory;
}

/** Reads and writes until `signal` is aborted; then every access throws the signal's reason. */
class InterruptibleMemory implements PhysicalMemory {
  readonly #memory: PhysicalMemory;
  readonly #signal: AbortSignal;

  constructor(memory: PhysicalMemory, signal: AbortSignal) {
    this.#memory = memory;
    this.#signal = signal;
  }

  get isSlow(): boolean {
    return this.#memory.isSlow ?? false;
  }

  async ranges(): Promise<readonly PhysicalRange[]> {
    this.#signal.throwIfAborted();
    return await this.#memory.ranges();
  }

  async read(address: bigint, length: number, into?: Uint8Array): Promise<Uint8Array> {
    this.#signal.throwIfAborted();
    return await this.#memory.read(address, length, into);
  }

  async write(address: bigint, bytes: Uint8Array): Promise<void> {
    this.#signal.throwIfAborted();
    await this.#memory.write(address, bytes);
  }
}
