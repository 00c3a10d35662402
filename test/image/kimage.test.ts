/** `struct kimage` is believed only where all of it makes sense. */
import { describe, expect, test } from "vitest";
import { readKimage } from "../../src/image/kimage.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { CRASH, FakeKernel, le64, PLACES } from "./fake-machine.ts";

const crash = RangeSet.of([CRASH]);
const pagesAt = (page: number, pages = 1): { start: bigint; end: bigint } => ({
  start: CRASH.start + BigInt(page * 4096),
  end: CRASH.start + BigInt((page + pages) * 4096),
});
const readImage = (
  entry: bigint,
  segments: { start: bigint; end: bigint }[],
): ReturnType<typeof readKimage> => {
  const kernel = new FakeKernel();
  kernel.setImage(entry, segments);
  return readKimage(kernel.memory, PLACES.kimage, crash);
};

describe("struct kimage", () => {
  test("gives entry and segments", async () => {
    expect(await readImage(CRASH.start + 0x4010n, [pagesAt(0), pagesAt(4, 2)])).toEqual({
      address: PLACES.kimage,
      entry: CRASH.start + 0x4010n,
      segments: [
        { address: CRASH.start, size: 4096 },
        { address: CRASH.start + 0x4000n, size: 8192 },
      ],
    });
  });

  test.each([
    ["without segments", CRASH.start, []],
    ["with 17 segments", CRASH.start, Array.from({ length: 17 }, (_, i) => pagesAt(i))],
    ["with its entry outside its segments", CRASH.start + 0x8000n, [pagesAt(0)]],
    ["with its entry outside crash memory", 0x100_0000n, [pagesAt(0)]],
    ["with an empty segment", CRASH.start, [pagesAt(0), pagesAt(1, 0)]],
    ["with a segment outside crash memory", CRASH.start, [pagesAt(0), pagesAt(-1)]],
    ["with a segment that reaches beyond crash memory", CRASH.start, [pagesAt(0), pagesAt(1023, 2)]],
    ["with segments that overlap", CRASH.start, [pagesAt(0, 3), pagesAt(2)]],
    [
      "with a segment in the middle of a page",
      CRASH.start,
      [pagesAt(0), { start: CRASH.start + 0x2100n, end: CRASH.start + 0x3100n }],
    ],
  ])("%s is none", async (_, entry, segments) => {
    expect(await readImage(entry, segments.slice(0, 17))).toBeUndefined();
  });

  test("with a number of segments that fills 64 bits is none", async () => {
    const kernel = new FakeKernel();
    kernel.setImage(CRASH.start, [pagesAt(0)]);
    for (const count of [-1n, 1n << 32n, 1n << 63n]) {
      kernel.memory.poke(PLACES.kimage + 56n, le64(count));
      expect(await readKimage(kernel.memory, PLACES.kimage, crash)).toBeUndefined();
    }
  });
});
