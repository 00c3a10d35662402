import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  kcoreHeaderSize,
  kcorePieces,
  type KcoreTable,
  parseKcore,
  vmcoreinfoIn,
} from "../../../src/targets/local/kcore-elf.ts";
import { LocalError } from "../../../src/targets/local/error.ts";
import { fileHeader, type KcoreEntry, kcoreHeader, note, NOWHERE, PAGE_OFFSET } from "./kcore-file.ts";

const ram = (start: bigint, end: bigint, offset = 0x7000n + start): KcoreEntry => ({
  type: 1,
  offset,
  vaddr: PAGE_OFFSET + start,
  paddr: start,
  size: end - start,
});
const TEXT: KcoreEntry = {
  type: 1,
  offset: 0x7fff_8000_0000n,
  vaddr: 0xffff_ffff_8100_0000n,
  paddr: 0x100_0000n,
  size: 0x200_0000n,
};
const VMALLOC: KcoreEntry = {
  type: 1,
  offset: 0x4100_0000n,
  vaddr: 0xffff_c900_0000_0000n,
  paddr: NOWHERE,
  size: 1n << 45n,
};
const NOTES: KcoreEntry = { type: 4, offset: 0x400n, vaddr: 0n, paddr: 0n, size: 0x1a00n };

const parse = (...entries: readonly KcoreEntry[]): KcoreTable => parseKcore(kcoreHeader(entries), "kcore");

describe("the table of kcore", () => {
  test("has RAM of the linear mapping, by address, and nothing else", () => {
    const table = parse(NOTES, TEXT, VMALLOC, ram(0x10_0000n, 0x3ffd_c000n), ram(0x1000n, 0x9_f000n));
    expect(table).toEqual({
      loads: [
        { range: { start: 0x1000n, end: 0x9_f000n }, offset: 0x8000n },
        { range: { start: 0x10_0000n, end: 0x3ffd_c000n }, offset: 0x10_7000n },
      ],
      pageOffset: PAGE_OFFSET,
      notes: { offset: 0x400n, size: 0x1a00 },
    });
  });

  test("does not say where the linear mapping begins where loads do not agree", () => {
    const moved = { ...ram(0x10_0000n, 0x20_0000n), vaddr: PAGE_OFFSET };
    expect(parse(ram(0x1000n, 0x2000n), moved).pageOffset).toBeUndefined();
    expect(parse(NOTES).pageOffset).toBeUndefined();
    // QEMU's dump-guest-memory.
    expect(parse({ ...ram(0x1000n, 0x2000n), vaddr: 0x1000n }).pageOffset).toBeUndefined();
  });

  test("keeps offsets beyond 2^53 exact, as five-level page tables make them", () => {
    const offset = (1n << 56n) + 0x3001n;
    const table = parse(ram(0x1000n, 0x9000n, offset));
    expect(kcorePieces(table, 0x1002n, 3)).toEqual([{ offset: offset + 2n, length: 3 }]);
  });

  test.each<readonly [string, Uint8Array, string]>([
    ["no bytes", new Uint8Array(0), "buffer at offset 0x0 is 0 bytes, expected at least 64 bytes"],
    ["no program headers", fileHeader(0), "e_phnum at offset 0x38 is 0"],
    ["program headers that e_phnum cannot count", fileHeader(65_535), "e_phnum at offset 0x38 is 65535"],
    ["text", Buffer.from("0".repeat(64)), "magic at offset 0x0 is 0x30303030"],
    [
      "another machine's",
      withU16(kcoreHeader([NOTES]), 18, 183),
      "e_machine at offset 0x12 is 0xb7, expected 0x3e",
    ],
    ["program headers elsewhere", withU16(kcoreHeader([NOTES]), 32, 128), "e_phoff is 0x80, expected 0x40"],
    [
      "program headers that are cut off",
      kcoreHeader([NOTES, VMALLOC]).subarray(0, 100),
      "ends after 100 bytes",
    ],
    [
      "loads that overlap",
      kcoreHeader([ram(0x1000n, 0x3000n), ram(0x2fffn, 0x4000n)]),
      "0x1000-0x3000 (8 KiB) and 0x2fff-0x4000 (4097 bytes) overlap",
    ],
    ["a load beyond any file", kcoreHeader([ram(0x1000n, 0x2000n, (1n << 63n) - 1n)]), "beyond any file"],
    ["a load beyond memory", kcoreHeader([{ ...ram(0n, 2n), paddr: NOWHERE - 1n, size: 3n }]), "beyond 2^64"],
  ])("is refused for %s", (_, bytes, message) => {
    const refused = (): unknown => parseKcore(bytes, "/r/kcore");
    expect(refused).toThrow(LocalError);
    expect(refused).toThrow(message);
    expect(refused).toThrow("/r/kcore is not a kernel's memory");
  });

  test("gives what it was made of, whatever the order (property)", () => {
    fc.assert(
      fc.property(disjointRanges(), fc.infiniteStream(fc.nat(100)), (ranges, order) => {
        const [first, ...rest] = ranges.map(({ start, end }) => ram(start, end, start * 3n));
        const shuffled = [...(first ? [first] : []), NOTES, TEXT, VMALLOC, ...rest]
          .map((entry) => ({ entry, key: order.next().value }))
          .sort((a, b) => a.key - b.key);
        expect(parse(...shuffled.map(({ entry }) => entry)).loads).toEqual(
          ranges.map((range) => ({ range, offset: range.start * 3n })),
        );
      }),
    );
  });

  test("never does anything but refuse hostile bytes with its own error, and what it takes is in order (property)", () => {
    const base = kcoreHeader([NOTES, TEXT, VMALLOC, ram(0x1000n, 0x9_f000n), ram(0x10_0000n, 0x3ffd_c000n)]);
    const change = fc.tuple(fc.nat(base.length - 1), fc.oneof(fc.constantFrom(0, 0xff), fc.nat(255)));
    let taken = 0;
    fc.assert(
      fc.property(fc.array(change, { maxLength: 12 }), fc.nat(base.length), (changes, length) => {
        const bytes = base.slice(0, length % 3 === 0 ? length : base.length);
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        const table = tableOrRefusal(bytes);
        if (table === undefined) return;
        taken++;
        expect(table.loads.every(fitsFile)).toBe(true);
        const starts = table.loads.slice(1).map(({ range }) => range.start);
        expect(starts.every((start, i) => start >= table.loads[i]!.range.end)).toBe(true);
      }),
      { numRuns: 500 },
    );
    expect(taken).toBeGreaterThan(20);
  });

  test("says how much is to be read from 64 bytes (property)", () => {
    fc.assert(
      fc.property(fc.nat(65_535), (count) => {
        const bytes = fileHeader(count);
        fc.pre(count > 0 && count < 65_535);
        expect(kcoreHeaderSize(bytes, "kcore")).toBe(64 + 56 * count);
      }),
    );
  });
});

describe("a span in kcore", () => {
  const table = parse(ram(0x1000n, 0x3000n), ram(0x3000n, 0x5000n, 0x100n), ram(0x8000n, 0x9000n));

  test("is put together of the loads that it lies in", () => {
    expect(kcorePieces(table, 0x2ff0n, 0x20)).toEqual([
      { offset: 0x9ff0n, length: 0x10 },
      { offset: 0x100n, length: 0x10 },
    ]);
    expect(kcorePieces(table, 0x8000n, 0x1000)).toEqual([{ offset: 0xf000n, length: 0x1000 }]);
  });

  test.each([
    ["before the first", 0xfffn, 1],
    ["behind the last", 0x9000n, 1],
    ["across a hole", 0x4fffn, 0x4000],
    ["out of the last one", 0x8fffn, 2],
  ])("%s is not there", (_, address, length) => {
    expect(kcorePieces(table, address, length)).toBeUndefined();
  });

  test("is covered byte by byte, each once, or not at all (property)", () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.bigInt(0n, 0xa000n), fc.bigInt(0x2f00n, 0x3100n), fc.bigInt(0x4800n, 0x5000n)),
        fc.nat(0x800),
        (address, length) => {
          const inside = (at: bigint): bigint | undefined => {
            const load = table.loads.find(({ range }) => range.start <= at && at < range.end);
            return load && load.offset + at - load.range.start;
          };
          const steps = Array.from({ length }, (_, i) => inside(address + BigInt(i)));
          const pieces = kcorePieces(table, address, length)?.flatMap((piece) =>
            Array.from({ length: piece.length }, (_, i) => piece.offset + BigInt(i)),
          );
          expect(pieces).toEqual(steps.includes(undefined) ? undefined : steps);
        },
      ),
    );
  });
});

describe("kcore's VMCOREINFO note", () => {
  const text = Buffer.from("OSRELEASE=6.1.0\n");

  test("is found behind the others", () => {
    const notes = Buffer.concat([
      note("CORE", new Uint8Array(336)),
      note("VMCOREINFO", text),
      note("X", text),
    ]);
    expect(vmcoreinfoIn(Uint8Array.from(notes))).toEqual(note("VMCOREINFO", text));
  });

  test("is not there where the notes end before it does", () => {
    const notes = note("VMCOREINFO", text);
    expect(vmcoreinfoIn(notes.subarray(0, notes.length - 1))).toBeUndefined();
    expect(vmcoreinfoIn(note("CORE", text))).toBeUndefined();
    expect(vmcoreinfoIn(new Uint8Array(0))).toBeUndefined();
  });

  test("is looked for to an end in any bytes (property)", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        expect(vmcoreinfoIn(bytes)?.length ?? 0).toBeLessThanOrEqual(bytes.length);
      }),
    );
    expect.assertions(100);
  });
});

/** The table, or undefined where the bytes were refused with the reader's own error; any other error is passed on. */
function tableOrRefusal(bytes: Uint8Array): KcoreTable | undefined {
  try {
    return parseKcore(bytes, "kcore");
  } catch (error) {
    if (error instanceof LocalError) return undefined;
    throw error;
  }
}

function fitsFile({ range, offset }: KcoreTable["loads"][number]): boolean {
  return range.end > range.start && offset + range.end - range.start <= 1n << 63n;
}

function withU16(bytes: Uint8Array, at: number, value: number): Uint8Array {
  new DataView(bytes.buffer).setUint16(at, value, true);
  return bytes;
}

/** Ascending, disjoint, some touching. */
function disjointRanges(): fc.Arbitrary<readonly { readonly start: bigint; readonly end: bigint }[]> {
  const step = fc.tuple(fc.bigInt(0n, 0x1_0000n), fc.bigInt(1n, 0x100_0000n));
  return fc.array(step, { maxLength: 40 }).map((steps) => {
    let at = 0x1000n;
    return steps.map(([gap, size]) => {
      const start = at + gap;
      at = start + size;
      return { start, end: at };
    });
  });
}
