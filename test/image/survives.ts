/** What every test of a hostile guest asks for: no error but our own, and an end in time. */
import * as fc from "fast-check";
import { expect } from "vitest";
import { CoreHeaderError } from "../../src/elfcore/error.ts";
import { ImageError } from "../../src/image/error.ts";
import { MemoryAccessError } from "../../src/image/memory.ts";
import { LayoutError } from "../../src/layout/error.ts";
import { CRASH, KERNEL, PLACES } from "./fake-machine.ts";

/**
 * Milliseconds of processor time that one hostile input may take on a slow machine. Not of the clock: where other workers
 * and other programs want the same cores, that says nothing about the work. What waits for ever meets the test's own limit.
 */
const LIMIT = 2000;

/** Runs `work`; it may throw our own errors only, and must end in time. */
export async function survives<T>(work: () => T | Promise<T>): Promise<T | undefined> {
  const start = process.cpuUsage();
  try {
    return await work();
  } catch (error) {
    const ours = [ImageError, CoreHeaderError, LayoutError, MemoryAccessError];
    if (!ours.some((type) => error instanceof type)) throw error;
    return undefined;
  } finally {
    const { user, system } = process.cpuUsage(start);
    expect((user + system) / 1000).toBeLessThan(LIMIT);
  }
}

export const anyByte: fc.Arbitrary<number> = fc.nat({ max: 255 });
/** Places in `length` bytes, each with the byte to put there. */
export const changes = (length: number): fc.Arbitrary<[number, number][]> =>
  fc.array(fc.tuple(fc.nat({ max: length - 1 }), anyByte), { minLength: 1, maxLength: 12 });
/** Values that break arithmetic, and values that lead somewhere. */
export const interesting: fc.Arbitrary<bigint> = fc.oneof(
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  fc.constantFrom(
    0n,
    1n,
    (1n << 64n) - 1n,
    (1n << 64n) - 4096n,
    1n << 63n,
    CRASH.start,
    CRASH.end,
    CRASH.end - 4096n,
    KERNEL,
    PLACES.user,
  ),
  fc.nat({ max: 1023 }).map((page) => CRASH.start + BigInt(page * 4096)),
);
