/** The port through which everything here sees a machine's physical memory. */
import type { PhysicalRange } from "../layout/range.ts";

/** A machine's physical memory. Errors of the real side are passed on as they are. */
export interface PhysicalMemory {
  /** Whether reading takes so long that what is needed twice is better kept. */
  readonly isSlow?: boolean;

  /** RAM that exists now, boot RAM and hot-added, sorted and disjoint. */
  ranges(): Promise<readonly PhysicalRange[]>;

  /**
   * Reads `length` bytes at physical `address`.
   *
   * @param into room for as many bytes, where the caller has it: a machine may put them there and return a view of it.
   * Pages that are new to a process cost more than what is copied into them.
   * @throws {MemoryAccessError} where any byte of the span is not RAM.
   */
  read(address: bigint, length: number, into?: Uint8Array): Promise<Uint8Array>;

  /**
   * Writes all of `bytes` at physical `address`.
   *
   * @throws {MemoryAccessError} where any byte of the span is not RAM; then nothing was written.
   */
  write(address: bigint, bytes: Uint8Array): Promise<void>;
}

/** A span that is not RAM, or not reachable. */
export class MemoryAccessError extends Error {
  override readonly name = "MemoryAccessError";
  readonly address: bigint;
  readonly length: number;

  constructor(action: "read" | "write", address: bigint, length: number, reason: string) {
    super(`Cannot ${action} ${length} bytes at physical 0x${address.toString(16)}: ${reason}`);
    this.address = address;
    this.length = length;
  }
}
