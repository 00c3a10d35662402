import { describe, expect, test } from "vitest";
import { LayoutError } from "../../src/layout/error.ts";
import { formatBytes, formatRange, halfOpen, inclusiveRange, rangeBytes } from "../../src/layout/range.ts";

const LIMIT = 1n << 64n;

describe("constructors of ranges", () => {
  test("an inclusive range has one more at its end", () => {
    expect(inclusiveRange(0x1000n, 0x1fffn)).toEqual(halfOpen(0x1000n, 0x2000n));
    expect(inclusiveRange(0n, 0n)).toEqual({ start: 0n, end: 1n });
  });

  test("the whole address space is a range", () => {
    expect(rangeBytes(inclusiveRange(0n, LIMIT - 1n))).toBe(LIMIT);
  });

  test.each([
    [1n, 1n],
    [2n, 1n],
    [-1n, 1n],
    [0n, LIMIT + 1n],
  ])("from %s to %s is none", (start, end) => {
    expect(() => halfOpen(start, end)).toThrow(LayoutError);
  });

  test("an inclusive range may not end before it starts, nor beyond 64 bits", () => {
    expect(() => inclusiveRange(1n, 0n)).toThrow("expected 0 <= start < end <= 2^64");
    expect(() => inclusiveRange(0n, LIMIT)).toThrow(LayoutError);
  });
});

describe("ranges for people", () => {
  test("have an exclusive end and an exact size", () => {
    expect(formatRange(halfOpen(0x8_8000_0000n, 0x8_c000_0000n))).toBe("0x880000000-0x8c0000000 (1 GiB)");
  });

  test.each([
    [0n, "0 bytes"],
    [1n, "1 byte"],
    [1023n, "1023 bytes"],
    [1024n, "1 KiB"],
    [1536n << 20n, "1536 MiB"],
    [480n << 30n, "480 GiB"],
    [2n << 40n, "2 TiB"],
  ])("%s bytes read %j", (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });
});
