import { describe, expect, test } from "vitest";
import type { PhysicalMemory } from "../../../src/image/memory.ts";
import { MeasurementError } from "../../../src/lab/errors.ts";
import { onlineSections, type SectionMap, sectionMapOf } from "../../../src/lab/campaign/sections.ts";
import { RangeSet } from "../../../src/layout/range-set.ts";
import { FakeMemory } from "../../image/fake-memory.ts";

const PAGE_OFFSET = 0xffff888000000000n;
const ENTRIES: ReadonlyMap<string, string> = new Map([
  ["SYMBOL(mem_section)", (PAGE_OFFSET + 0x1000n).toString(16)],
  ["LENGTH(mem_section)", "2048"],
  ["SIZE(mem_section)", "32"],
  ["OFFSET(mem_section.section_mem_map)", "0"],
]);
const INFO = { address: 0n, release: "6.1.0", entries: ENTRIES };
const PER_ROOT = 4096 / 32;

function word(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

/** A map whose root `root` lies at 0x8000, with these flags by section. */
async function mapWith(
  root: number,
  flags: ReadonlyMap<number, bigint>,
): Promise<{ readonly memory: PhysicalMemory; readonly map: SectionMap }> {
  const memory = new FakeMemory(RangeSet.of([{ start: 0n, end: 0x20000n }]));
  await memory.write(0x1000n + BigInt(8 * root), word(PAGE_OFFSET + 0x8000n));
  for (const [section, value] of flags)
    await memory.write(0x8000n + BigInt((section % PER_ROOT) * 32), word(value | 0xffffea0000000000n));
  return { memory, map: sectionMapOf(INFO, PAGE_OFFSET) };
}

describe("a kernel's section map", () => {
  test("tells which sections are online: not those that are only present", async () => {
    // Sections 32 and 33 (4 GiB on) are online, 34 is present with a memory map, 35 is nothing.
    const { memory, map } = await mapWith(
      0,
      new Map([
        [32, 7n],
        [33, 7n],
        [34, 3n],
        [35, 0n],
      ]),
    );
    const online = await onlineSections(memory, map, [{ start: 32n << 27n, end: 36n << 27n }]);
    expect(online.ranges).toEqual([{ start: 32n << 27n, end: 34n << 27n }]);
  });

  test("goes on from root to root, and takes one that is not there as offline", async () => {
    const { memory, map } = await mapWith(1, new Map([[PER_ROOT, 7n]]));
    const where = [{ start: BigInt(PER_ROOT - 2) << 27n, end: BigInt(PER_ROOT + 2) << 27n }];
    const online = await onlineSections(memory, map, where);
    expect(online.ranges).toEqual([{ start: BigInt(PER_ROOT) << 27n, end: BigInt(PER_ROOT + 1) << 27n }]);
  });

  test("ends with its last root", async () => {
    const { memory, map } = await mapWith(0, new Map());
    const beyond = BigInt(map.count * PER_ROOT) << 27n;
    expect((await onlineSections(memory, map, [{ start: beyond, end: beyond << 1n }])).isEmpty).toBe(true);
  });

  test.each([...ENTRIES.keys()])("is not guessed where VMCOREINFO lacks %s", (key) => {
    const entries = new Map([...ENTRIES].filter(([name]) => name !== key));
    expect(() => sectionMapOf({ ...INFO, entries }, PAGE_OFFSET)).toThrow(MeasurementError);
  });
});
