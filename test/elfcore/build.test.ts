import { describe, expect, test } from "vitest";
import { buildCoreHeader, kernelBufferSize, kexecToolsBufferSize } from "../../src/elfcore/build.ts";
import { CoreHeaderError } from "../../src/elfcore/error.ts";
import { PAGE_OFFSET } from "./samples.ts";

const nothing = {
  cpuNotes: [],
  vmcoreinfo: undefined,
  kernelText: undefined,
  ram: [],
  pageOffset: PAGE_OFFSET,
};

describe("buildCoreHeader", () => {
  test("leaves out what is not given", () => {
    expect(buildCoreHeader(nothing).programHeaders).toEqual([]);
    const ram = [{ start: 0n, end: 4096n }];
    expect(buildCoreHeader({ ...nothing, ram }).programHeaders).toHaveLength(1);
  });

  test("gives virtual addresses modulo 2^64", () => {
    const start = 1n << 63n;
    const { programHeaders } = buildCoreHeader({ ...nothing, ram: [{ start, end: start + 1n }] });
    expect(programHeaders[0]?.p_vaddr).toBe(0x7fff_9e3a_0000_0000n);
  });

  test.each([
    [0n, 0n],
    [2n, 1n],
    [-1n, 1n],
    [0n, (1n << 64n) + 1n],
  ])("refuses RAM from %s to %s", (start, end) => {
    const build = () => buildCoreHeader({ ...nothing, ram: [{ start, end }] });
    expect(build).toThrow(CoreHeaderError);
    expect(build).toThrow("expected 0 <= start < end <= 2^64");
  });
});

describe("buffer sizes", () => {
  test("the kernel reserves a slot for its text and rounds up to pages", () => {
    expect(kernelBufferSize({ cpus: 8, ranges: 4 })).toBe(4096);
    expect(kernelBufferSize({ cpus: 70, ranges: 0 })).toBe(4096);
    expect(kernelBufferSize({ cpus: 71, ranges: 0 })).toBe(8192);
  });

  test("kexec-tools rounds up to 1024", () => {
    expect(kexecToolsBufferSize(17)).toBe(1024);
    expect(kexecToolsBufferSize(18)).toBe(2048);
  });
});
