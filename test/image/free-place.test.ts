/** Free places in crash memory, and maps and boot parameters that a guest has forged. All seeds are fixed. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  E820_MAX,
  E820_RAM,
  type E820Entry,
  encodeMap,
  overlaps,
  parseBootParams,
} from "../../src/image/boot-params.ts";
import { withElfcorehdr, elfcorehdrOf } from "../../src/image/command-line.ts";
import { controlPageIn, readControlPagesEnd } from "../../src/image/control-pages.ts";
import { findFreePlace, withoutPlace } from "../../src/image/free-place.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { load } from "./fake-loaders.ts";
import { BOOT_RAM, CRASH, FakeKernel, le64, PAGE_OFFSET, PLACES } from "./fake-machine.ts";
import { changes, survives } from "./survives.ts";

const PAGE = 4096n;
const BASE = 0x3000_0000n;
const PAGES = 64;
const crash = { start: BASE, end: BASE + BigInt(PAGES) * PAGE };
const at = (page: number): bigint => BASE + BigInt(page) * PAGE;
const ram = (from: number, to: number): E820Entry => ({
  start: at(from),
  size: BigInt(to - from) * PAGE,
  type: E820_RAM,
});

const page = fc.nat({ max: PAGES });
const span = fc.tuple(page, page).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const);
/** Whole pages in and around crash memory, or anything. */
const entry: fc.Arbitrary<E820Entry> = fc.oneof(
  { weight: 4, arbitrary: span.map(([from, to]) => ram(from, to)) },
  { weight: 1, arbitrary: span.map(([from, to]) => ({ ...ram(from, to), type: 2 })) },
  {
    weight: 1,
    arbitrary: fc.record({
      start: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      size: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      type: fc.constantFrom(0, 1, 2, 128),
    }),
  },
);

test("whatever the map says, a place is free, is in it, and is what it loses", () => {
  let found = 0;
  fc.assert(
    fc.property(
      fc.array(entry, { maxLength: 8 }),
      fc.array(span, { maxLength: 5 }),
      page,
      fc.integer({ min: 1, max: 12 }),
      (map, taken, control, pages) => {
        const segments = taken
          .filter(([from, to]) => to > from)
          .map(([from, to]) => ({ address: at(from), size: (to - from) * 4096 }));
        const free = findFreePlace({ crash, segments, controlPagesEnd: at(control), map }, pages * 4096);
        if (typeof free === "string") return;
        found++;
        const { place } = free;
        expect(place.end - place.start).toBe(BigInt(pages) * PAGE);
        expect(place.start % PAGE).toBe(0n);
        expect(place.start >= at(control) && place.start >= crash.start && place.end <= crash.end).toBe(true);
        for (const { address, size } of segments)
          expect(place.end <= address || address + BigInt(size) <= place.start).toBe(true);
        expect(free.map.some((each) => overlaps(each, place))).toBe(false);
        expect(free.map.length).toBeLessThanOrEqual(E820_MAX);
        const touched = map.find((each) => overlaps(each, place))!;
        expect(touched.type).toBe(E820_RAM);
        const before = RangeSet.of([{ start: touched.start, end: touched.start + touched.size }]);
        const after = RangeSet.of(
          free.map
            .filter((each) => !map.includes(each))
            .map(({ start, size }) => ({ start, end: start + size })),
        );
        expect(after.ranges).toEqual(before.subtract(RangeSet.of([place])).ranges);
        // All other entries are what they were.
        expect(free.map.filter((each) => map.includes(each))).toEqual(map.filter((each) => each !== touched));
      },
    ),
    { numRuns: 5000, seed: 21 },
  );
  expect(found).toBeGreaterThan(500);
});

describe("the highest free place", () => {
  const occupation = { crash, segments: [], controlPagesEnd: at(8), map: [ram(1, PAGES)] };

  test("is taken", () => {
    expect(findFreePlace(occupation, 0x4000)).toEqual({
      place: { start: at(PAGES - 4), end: at(PAGES) },
      map: [ram(1, PAGES - 4)],
    });
  });

  test("cuts the map in two where a segment lies above it", () => {
    const segments = [{ address: at(50), size: 4096 * (PAGES - 50) }];
    expect(findFreePlace({ ...occupation, segments }, 0x4000)).toEqual({
      place: { start: at(46), end: at(50) },
      map: [ram(1, 46), ram(50, PAGES)],
    });
  });

  test("is not taken below the end of the control pages", () => {
    const segments = [{ address: at(10), size: 4096 * (PAGES - 10) }];
    expect(findFreePlace({ ...occupation, segments }, 0x2000)).toMatchObject({
      place: { start: at(8), end: at(10) },
    });
    expect(findFreePlace({ ...occupation, segments }, 0x3000)).toContain("are free");
  });

  test("is taken from the edge of an entry where the map has no room for one more", () => {
    const others = Array.from({ length: E820_MAX - 1 }, (_, i) => ({
      start: BigInt(i) << 40n,
      size: 1n,
      type: 2,
    })).slice(1);
    const segments = [{ address: at(40), size: 4096 * (PAGES - 40) }];
    const map = [...others, ram(8, PAGES), ram(0, 1)];
    expect(map).toHaveLength(E820_MAX);
    const free = findFreePlace({ ...occupation, segments, map }, 0x4000);
    expect(free).toMatchObject({ place: { start: at(8), end: at(12) } });
    expect(findFreePlace({ ...occupation, segments, map, controlPagesEnd: at(9) }, 0x4000)).toContain("full");
  });
});

test("a map without a place says why where it cannot be made", () => {
  const place = { start: at(4), end: at(8) };
  expect(withoutPlace([], place)).toContain("contradicts itself");
  expect(withoutPlace([ram(0, 10), ram(7, 9)], place)).toContain("contradicts itself");
  expect(withoutPlace([{ ...ram(0, 10), type: 2 }], place)).toContain("contradicts itself");
  expect(withoutPlace([ram(5, 10)], place)).toContain("has not all of");
  expect(withoutPlace([ram(4, 8)], place)).toEqual([]);
});

test("boot parameters with changed bytes are read or refused, and written back as they were read", async () => {
  const kernel = new FakeKernel();
  const image = load(kernel, "file");
  const { start, end } = image.segments.get("boot-params")!;
  const segment = { address: start, size: Number(end - start) };
  const good = kernel.memory.peek(start, segment.size);
  let read = 0;
  await fc.assert(
    fc.asyncProperty(changes(4096 + 64), async (bytes) => {
      const bad = good.slice();
      for (const [offset, byte] of bytes) bad[offset] = byte;
      const params = await survives(() => parseBootParams(segment, bad));
      if (!params) return;
      read++;
      const { map, commandLine } = params;
      expect(map.length).toBeLessThanOrEqual(E820_MAX);
      expect(encodeMap(map)).toEqual(bad.slice(0x2d0, 0x2d0 + map.length * 20));
      expect(commandLine.address >= start + 4096n && commandLine.address < end).toBe(true);
      expect(commandLine.text.length).toBeLessThan(2048);
    }),
    { numRuns: 3000, seed: 22 },
  );
  expect(read).toBeGreaterThan(1000);
});

test("control_page is read behind three empty lists and nowhere else", () => {
  const base = 0xffff_9e3a_0203_0640n;
  const bytes = new Uint8Array(1024);
  const lists = (offset: number, count: number): void => {
    for (let i = 0; i < count; i++) {
      const place = offset + i * 16;
      bytes.set(le64(base + BigInt(place)), place);
      bytes.set(le64(base + BigInt(place)), place + 8);
    }
  };
  expect(controlPageIn(bytes, base)).toBeUndefined();
  lists(0, 2);
  bytes.set(le64(0x1234n), 32);
  expect(controlPageIn(bytes, base)).toBeUndefined();
  lists(160, 3);
  bytes.set(le64(0x5678n), 208);
  expect(controlPageIn(bytes, base)).toBe(0x5678n);
  expect(controlPageIn(bytes.subarray(0, 215), base)).toBeUndefined();
  expect(controlPageIn(bytes, base + 8n)).toBeUndefined();
});

test("the end of control pages is the same whether the kernel keeps their last byte or the one behind", async () => {
  const kernel = new FakeKernel();
  load(kernel, "file");
  const kimage = { address: PLACES.kimage, entry: 0n, segments: [] };
  const ends: unknown[] = [];
  for (const value of [0x9fffn, 0xa000n, 0xa001n, 0x1fffn, 0x1ffen, 0xfffn]) {
    kernel.memory.poke(PLACES.kimage + 624n, le64(CRASH.start + value));
    const end = await readControlPagesEnd(kernel.memory, kimage, PAGE_OFFSET, CRASH);
    ends.push(end && end - CRASH.start);
  }
  expect(ends).toEqual([0xa000n, 0xa000n, 0xb000n, 0x2000n, 0x2000n, undefined]);
  const behindRam = { ...kimage, address: BOOT_RAM.ranges.at(-1)!.end - 1024n };
  expect(await readControlPagesEnd(kernel.memory, behindRam, PAGE_OFFSET, CRASH)).toBeUndefined();
});

describe("elfcorehdr= on a command line", () => {
  const cases: readonly (readonly [string, bigint, string | undefined])[] = [
    ["elfcorehdr=0x2f000000 quiet", 0x2effc000n, "elfcorehdr=0x2effc000 quiet"],
    ["elfcorehdr=0x2f000000 quiet", 0x100n, "elfcorehdr=0x100      quiet"],
    ["elfcorehdr=0x2f000000 quiet", 0x1_0000_0000n, "elfcorehdr=4294967296 quiet"],
    ["elfcorehdr=0x2f000 quiet", 0x1_0000_0000n, undefined],
    ["quiet elfcorehdr=867316K", 0x34ef_8000n, "quiet elfcorehdr=867296K"],
    ["quiet elfcorehdr=867316K", 0x8000n, "quiet elfcorehdr=32K    "],
    ["elfcorehdr=0x1000 elfcorehdr=867316K", 0x8000n, "elfcorehdr=0x1000 elfcorehdr=32K    "],
    ["a=elfcorehdr=0x1000 x", 0x2000n, undefined],
    ['a="elfcorehdr=0x1000 x"', 0x2000n, undefined],
    ['a="b elfcorehdr=0x1000 x"', 0x2000n, undefined],
    ['a="b c" elfcorehdr=0x1000', 0x2000n, 'a="b c" elfcorehdr=0x2000'],
    ["elfcorehdr=1M@0x1000", 0x2000n, undefined],
    ["elfcorehdr=", 0x2000n, undefined],
    ["quiet", 0x2000n, undefined],
  ];

  test.each(cases)("%j with %s", (line, address, expected) => {
    expect(withElfcorehdr(line, address)).toBe(expected);
  });

  test("names what it is told to, and is as long as before", () => {
    const parts = fc.array(
      fc.constantFrom("quiet", 'a="b c"', "elfcorehdr=867316K", "elfcorehdr=0x2f000000"),
      {
        maxLength: 5,
      },
    );
    fc.assert(
      fc.property(parts, fc.nat({ max: 0x3_0000 }), (words, place) => {
        const line = words.join(" ");
        const address = BigInt(place) * PAGE;
        const named = withElfcorehdr(line, address);
        expect(named === undefined).toBe(!line.includes("elfcorehdr="));
        expect(named?.length ?? line.length).toBe(line.length);
        expect(elfcorehdrOf(named ?? "elfcorehdr=0")).toBe(named === undefined ? 0n : address);
      }),
      { seed: 23 },
    );
  });
});
