import { describe, expect, test } from "vitest";
import { LayoutError } from "../../src/layout/error.ts";
import { crashKernel, kernelImage, parseIomem, systemRam } from "../../src/layout/iomem.ts";
import { inclusiveRange } from "../../src/layout/range.ts";
import { RangeSet } from "../../src/layout/range-set.ts";

const IOMEM = `00000000-00000fff : Reserved
00001000-0009fbff : System RAM
000a0000-000bffff : PCI Bus 0000:00
00100000-7ffd9fff : System RAM
  58000000-67ffffff : Crash kernel
7ffda000-7fffffff : Reserved
100000000-87fffffff : System RAM
  11c000000-11d002966 : Kernel code
  11d200000-11dc8dfff : Kernel rodata
  11de00000-11e236d3f : Kernel data
  11e7f9000-11edfffff : Kernel bss
  870000000-87effffff : Crash kernel
880000000-8bfffffff : System RAM
8c0000000-8ffffffff : Persistent Memory
  8c0000000-8dfffffff : namespace0.0
    8c0000000-8cfffffff : System RAM (kmem)
900000000-93fffffff : 0000:00:05.0
  900000000-90fffffff : System RAM (virtio_mem)
`;

describe("parseIomem", () => {
  test("keeps depth, range and name of each line", () => {
    const entries = parseIomem(IOMEM);
    expect(entries).toHaveLength(18);
    expect(entries[1]).toEqual({ depth: 0, range: inclusiveRange(0x1000n, 0x9_fbffn), name: "System RAM" });
    expect(entries[15]).toEqual({
      depth: 2,
      range: inclusiveRange(0x8_c000_0000n, 0x8_cfff_ffffn),
      name: "System RAM (kmem)",
    });
    expect(entries[2]?.name).toBe("PCI Bus 0000:00");
  });

  test("says that hidden addresses need root", () => {
    const hidden = IOMEM.replaceAll(/[0-9a-f]{8,}-[0-9a-f]{8,}/g, "00000000-00000000");
    expect(() => parseIomem(hidden)).toThrow(
      new LayoutError("read /proc/iomem", "", "addresses are hidden, read it as root"),
    );
    expect(() => parseIomem(hidden)).toThrow(
      "Cannot read /proc/iomem: addresses are hidden, read it as root",
    );
  });

  test("takes one line of a single zero address beside others for what it is", () => {
    expect(parseIomem("00000000-00000000 : odd\n00001000-00001fff : System RAM\n")).toHaveLength(2);
  });

  test("finds nothing in nothing", () => {
    expect(parseIomem("")).toEqual([]);
    expect(parseIomem("\n\n")).toEqual([]);
  });

  test.each([
    "hello",
    "00001000 : System RAM",
    "00001000-0000zfff : System RAM",
    "00002000-00001fff : System RAM",
    "11111111111111111-22222222222222222 : System RAM",
  ])("names the line that it cannot read: %s", (line) => {
    const parse = () => parseIomem(`00000000-00000fff : Reserved\n${line}\n`);
    expect(parse).toThrow(LayoutError);
    expect(parse).toThrow("Cannot read /proc/iomem: line 2 ");
  });
});

describe("what /proc/iomem tells", () => {
  const entries = parseIomem(IOMEM);

  test("system RAM is every line with that in its name, at any depth", () => {
    const expected = RangeSet.of([
      inclusiveRange(0x1000n, 0x9_fbffn),
      inclusiveRange(0x10_0000n, 0x7ffd_9fffn),
      inclusiveRange(0x1_0000_0000n, 0x8_bfff_ffffn),
      inclusiveRange(0x8_c000_0000n, 0x8_cfff_ffffn),
      inclusiveRange(0x9_0000_0000n, 0x9_0fff_ffffn),
    ]);
    expect(systemRam(entries).ranges).toEqual(expected.ranges);
  });

  test("crash memory may be two ranges", () => {
    expect(crashKernel(entries).ranges).toEqual([
      inclusiveRange(0x5800_0000n, 0x67ff_ffffn),
      inclusiveRange(0x8_7000_0000n, 0x8_7eff_ffffn),
    ]);
    expect(crashKernel(parseIomem("00001000-0009fbff : System RAM")).isEmpty).toBe(true);
  });

  test("the kernel's image reaches from its code to its bss", () => {
    expect(kernelImage(entries)).toEqual(inclusiveRange(0x1_1c00_0000n, 0x1_1edf_ffffn));
  });

  test("the kernel's image ends with its last section where there is no bss, and is unknown without code", () => {
    const withoutBss = entries.filter(({ name }) => name !== "Kernel bss");
    const withoutCode = entries.filter(({ name }) => name !== "Kernel code");
    expect(kernelImage(withoutBss)?.end).toBe(0x1_1e23_6d40n);
    expect(kernelImage(withoutCode)).toBeUndefined();
  });
});
