/** Joining loads that touch: the same memory, no more of it than is needed, and never two that differ. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { buildCoreHeader } from "../../src/elfcore/build.ts";
import type { CoreHeader, ProgramHeader } from "../../src/elfcore/header.ts";
import { joinedToFit } from "../../src/elfcore/join.ts";
import { describedMemory } from "../../src/layout/described.ts";

const MIB = 1n << 20n;
const PAGE_OFFSET = 0xffff_9e3a_0000_0000n;

/** Two notes, the kernel's text, and a load for each of `blocks`: [place, size] in blocks of 128 MiB. */
function headerOf(blocks: readonly (readonly [number, number])[]): CoreHeader {
  return buildCoreHeader({
    cpuNotes: [{ paddr: 0x1000n, size: 368n }],
    vmcoreinfo: { paddr: 0x2000n, size: 4132n },
    kernelText: { paddr: 0x100_0000n, vaddr: 0xffff_ffff_8100_0000n, size: 0x20_0000n },
    ram: blocks.map(([place, size]) => ({
      start: BigInt(place) * 128n * MIB,
      end: BigInt(place + size) * 128n * MIB,
    })),
    pageOffset: PAGE_OFFSET,
  });
}

const FIXED = 3;
const loads = (header: CoreHeader): readonly ProgramHeader[] => header.programHeaders.slice(FIXED);

const someBlocks = fc
  .array(fc.tuple(fc.nat({ max: 2 }), fc.integer({ min: 1, max: 3 })), { minLength: 1, maxLength: 30 })
  .map((parts) => {
    let place = 8;
    return parts.map(([gap, size]) => {
      const start = place + gap;
      place = start + size;
      return [start, size] as const;
    });
  });

describe("a header that does not fit", () => {
  test("describes the same memory with as few joins as needed, or cannot be made to fit", () => {
    fc.assert(
      fc.property(someBlocks, fc.integer({ min: 1, max: 40 }), (blocks, most) => {
        const header = headerOf(blocks);
        const touching = blocks.filter(([place], i) => {
          const below = blocks[i - 1];
          return below !== undefined && below[0] + below[1] === place;
        }).length;
        const count = header.programHeaders.length;
        const joined = joinedToFit(header, most);
        const fits = count - touching <= most;
        expect(joined !== undefined).toBe(fits);
        const same = joined ?? header;
        expect(same.programHeaders).toHaveLength(fits ? Math.min(count, most) : count);
        expect(describedMemory(same).ranges).toEqual(describedMemory(header).ranges);
        expect(same.programHeaders.slice(0, FIXED)).toEqual(header.programHeaders.slice(0, FIXED));
        for (const load of loads(same)) {
          expect(load.p_offset).toBe(load.p_paddr);
          expect(load.p_vaddr - load.p_paddr).toBe(PAGE_OFFSET);
          expect(load.p_filesz).toBe(load.p_memsz);
        }
        expect(joinedToFit(same, most)).toBe(fits ? same : undefined);
      }),
      { seed: 11 },
    );
  });

  test("loses its highest neighbours first, in any order of its loads", () => {
    const header = headerOf([
      [8, 1],
      [9, 1],
      [20, 1],
      [21, 1],
      [22, 1],
    ]);
    const shuffled = {
      ...header,
      programHeaders: [...header.programHeaders.slice(0, FIXED), ...loads(header).toReversed()],
    };
    for (const each of [header, shuffled]) {
      const joined = joinedToFit(each, FIXED + 4)!;
      const blocks = loads(joined).map(
        ({ p_paddr, p_memsz }) => `${p_paddr / (128n * MIB)}+${p_memsz / (128n * MIB)}`,
      );
      expect(new Set(blocks)).toEqual(new Set(["8+1", "9+1", "20+1", "21+2"]));
      expect(describedMemory(joinedToFit(each, FIXED + 2)!).ranges).toEqual(describedMemory(header).ranges);
      expect(joinedToFit(each, FIXED + 1)).toBeUndefined();
    }
  });

  test("is itself where it fits", () => {
    const header = headerOf([
      [8, 1],
      [9, 1],
    ]);
    expect(joinedToFit(header, 5)).toBe(header);
  });
});

const different: readonly (readonly [string, Partial<ProgramHeader>])[] = [
  ["flags", { p_flags: 6 }],
  ["alignment", { p_align: 4096n }],
  ["virtual addresses", { p_vaddr: 0xffff_8880_0000_0000n }],
  ["file sizes", { p_filesz: 4096n }],
  ["places in the file", { p_offset: 0x10_0000n }],
];

test.each(different)("loads with other %s are not joined", (_, change) => {
  const header = headerOf([
    [8, 1],
    [9, 1],
  ]);
  const last = header.programHeaders.at(-1)!;
  const changed = {
    ...header,
    programHeaders: [...header.programHeaders.slice(0, -1), { ...last, ...change }],
  };
  expect(joinedToFit(changed, 4)).toBeUndefined();
});

test("a load that ends where it begins, or where another one ends too, is survived", () => {
  const header = headerOf([
    [8, 1],
    [8, 1],
    [9, 1],
    [9, 1],
  ]);
  const joined = joinedToFit(header, 6);
  expect(describedMemory(joined ?? header).ranges).toEqual(describedMemory(header).ranges);
});
