import { InvalidArgumentError } from "commander";
import { describe, expect, it } from "vitest";
import { hintsOf, parseAddress, parseCount, parseRange, parseSize } from "../../src/cli/options.ts";

describe("a size", () => {
  it.each([
    ["1", 1n],
    ["512M", 512n << 20n],
    ["2G", 2n << 30n],
    ["2g", 2n << 30n],
    ["64K", 64n << 10n],
    ["480GiB", 480n << 30n],
    ["1T", 1n << 40n],
    ["999999999999T", 999_999_999_999n << 40n],
  ])("%j is read exactly", (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it.each(["", "0", "0G", "-1", "1.5G", "1 G", "G", "1GB", "0x10", "1e3", "١G", "1P", "9007199254740993"])(
    "%j is refused",
    (text) => {
      expect(() => parseSize(text)).toThrow("expected a size such as 512M or 2G");
    },
  );
});

describe("a count", () => {
  it.each([
    ["1", 1],
    ["007", 7],
    ["999999", 999_999],
  ])("%j is %i", (text, count) => {
    expect(parseCount(text)).toBe(count);
  });

  it.each(["", "0", "-1", "1.5", "1000000", "1e3", "two", " 1"])("%j is refused", (text) => {
    expect(() => parseCount(text)).toThrow("expected a whole number from 1 on");
  });
});

describe("an address", () => {
  it("is read with all of its 64 bits", () => {
    expect(parseAddress("0x2f000000")).toBe(0x2f00_0000n);
    expect(parseAddress("0xffffFFFFffffFFFF")).toBe(0xffff_ffff_ffff_ffffn);
  });

  it.each(["", "2f000000", "0x", "0x1g", "0x10000000000000000", "-0x1"])("%j is refused", (text) => {
    expect(() => parseAddress(text)).toThrow("expected an address in hex such as 0x2f000000");
  });
});

describe("a range", () => {
  it("has an exclusive end", () => {
    expect(parseRange("0x2f000000-0x3f000000")).toEqual({ start: 0x2f00_0000n, end: 0x3f00_0000n });
  });

  it.each(["", "0x1000", "0x1000-", "-0x1000", "0x1000-0x1000", "0x2000-0x1000", "0x1-0x2-0x3", "1-2"])(
    "%j is refused",
    (text) => {
      expect(() => parseRange(text)).toThrow(InvalidArgumentError);
    },
  );
});

describe("hints", () => {
  it("are empty where nothing was given", () => {
    expect(hintsOf({})).toEqual({ headerAddress: undefined, crashMemory: undefined });
  });

  it("carry a range as a set", () => {
    const { headerAddress, crashMemory } = hintsOf({
      headerAddress: 0x1000n,
      crashMemory: { start: 0x1000n, end: 0x3000n },
    });
    expect(headerAddress).toBe(0x1000n);
    expect(crashMemory?.toString()).toContain("0x1000-0x3000");
  });
});
