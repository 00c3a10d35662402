/** Page tables of the identity map: never fewer than a kernel's own walk fills. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { u64Bytes } from "../../src/image/bytes.ts";
import { identityMapped, mostPageTables, parsePfnMapped } from "../../src/image/identity-map.ts";
import { parseIomem } from "../../src/layout/iomem.ts";
import { pageTablesFor } from "../../src/simulation/control-pages.ts";

const GIB = 1n << 30n;
const gibs = (start: number, end: number): { start: bigint; end: bigint } => ({
  start: BigInt(start) * GIB,
  end: BigInt(end) * GIB,
});
/** For tables of firmware that lie where no RAM is. */
const FIRMWARE = 4;

describe("page tables", () => {
  test("take one for each GiB where there are no pages of that size", () => {
    const facts = { mapped: [gibs(0, 2), gibs(4, 32)], levels: 4, gibPages: false } as const;
    expect(mostPageTables(facts)).toBe(FIRMWARE + 32 + 1);
    expect(mostPageTables({ ...facts, gibPages: true })).toBe(FIRMWARE + 4 + 1);
    expect(mostPageTables({ ...facts, levels: 5 })).toBe(FIRMWARE + 32 + 1 + 1);
  });

  test("take one for each 512 GiB and each 256 TiB that memory far away begins", () => {
    const far = 300 * 1024;
    const facts = { mapped: [gibs(0, 2), gibs(far, far + 1)], levels: 5, gibPages: true } as const;
    expect(mostPageTables(facts)).toBe(FIRMWARE + 4 + 2 + 2);
  });

  test("take one for a GiB that a range fills in part, also where there are pages of that size", () => {
    const mapped = [{ start: 5n * GIB + 4096n, end: 9n * GIB - 4096n }];
    expect(mostPageTables({ mapped, levels: 4, gibPages: true })).toBe(FIRMWARE + 4 + 2 + 1);
  });

  test("are never fewer than the kernel fills", () => {
    const range = fc.tuple(fc.nat(900_000), fc.integer({ min: 1, max: 700 })).map(([start, blocks]) => ({
      start: BigInt(start) << 27n,
      end: (BigInt(start) << 27n) + (BigInt(blocks) << 27n),
    }));
    const paging = fc.record({ levels: fc.constantFrom<4 | 5>(4, 5), gibPages: fc.boolean() });
    fc.assert(
      fc.property(fc.array(range, { maxLength: 12 }), paging, (mapped, how) => {
        expect(mostPageTables({ mapped, ...how })).toBeGreaterThanOrEqual(pageTablesFor(mapped, how));
      }),
    );
  });

  test("are counted for RAM and the ACPI tables of /proc/iomem, or for what the kernel mapped", () => {
    const text = [
      "00001000-0009fbff : System RAM",
      "000f0000-000fffff : System ROM",
      "00100000-7ffdbfff : System RAM",
      "  6e000000-7dffffff : Crash kernel",
      "7ffdc000-7fffffff : ACPI Tables",
      "fec00000-fec003ff : IOAPIC 0",
    ].join("\n");
    expect(identityMapped(parseIomem(text))).toEqual([
      { start: 0x1000n, end: 0x9_fc00n },
      { start: 0x10_0000n, end: 0x7ffd_c000n },
      { start: 0x7ffd_c000n, end: 0x8000_0000n },
    ]);
    const bytes = Uint8Array.from([1n, 0x100n, 0x10_0000n, 0x18_0000n].flatMap((pfn) => [...u64Bytes(pfn)]));
    expect(parsePfnMapped(bytes)).toEqual([
      { start: 0x1000n, end: 0x10_0000n },
      { start: 0x1_0000_0000n, end: 0x1_8000_0000n },
    ]);
    expect(parsePfnMapped(bytes.subarray(0, 20))).toHaveLength(1);
  });
});
