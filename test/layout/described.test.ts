import { describe, expect, test } from "vitest";
import { PT_LOAD } from "../../src/elfcore/header.ts";
import { compareWithLayout, describedMemory } from "../../src/layout/described.ts";
import { halfOpen } from "../../src/layout/range.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { bootLoads, dimm, GIB, headerOf, hot, HOT, layoutWith } from "./samples.ts";

describe("describedMemory", () => {
  test("is what RAM loads cover, without what the kernel's text says by itself", () => {
    expect(describedMemory(headerOf(bootLoads)).ranges).toEqual(bootLoads);
    expect(describedMemory(headerOf([])).isEmpty).toBe(true);
  });

  test("has backed-up memory where it really lies", () => {
    const header = headerOf([{ start: 0x1000n, end: 0x9_fc00n, fileOffset: 0x78f6_0000n }]);
    expect(describedMemory(header).ranges).toEqual([halfOpen(0x1000n, 0x9_fc00n)]);
  });

  test("goes by p_memsz, and passes over empty loads and unknown program headers", () => {
    const [load] = headerOf(bootLoads)
      .programHeaders.filter(({ p_type }) => p_type === PT_LOAD)
      .slice(1);
    const programHeaders = [
      { ...load!, p_filesz: 1n },
      { ...load!, p_paddr: HOT, p_offset: HOT, p_memsz: 0n },
      { ...load!, p_type: 99, p_paddr: HOT },
    ];
    const header = { ...headerOf([]), programHeaders };
    expect(describedMemory(header).ranges).toEqual([bootLoads[0]]);
  });
});

describe("compareWithLayout", () => {
  test("boot RAM that is not described is not missing", () => {
    const { missing, stale } = compareWithLayout(headerOf(bootLoads), layoutWith([]));
    expect([missing.isEmpty, stale.isEmpty]).toEqual([true, true]);
  });

  test("a DIMM that is not described is missing, as far as it is not", () => {
    const header = headerOf([...bootLoads, hot(1)]);
    const { missing, stale } = compareWithLayout(header, layoutWith([dimm(hot(0, 3))]));
    expect(missing.ranges).toEqual([hot(0), hot(2)]);
    expect(stale.isEmpty).toBe(true);
  });

  test("described memory behind which there is nothing is stale", () => {
    const header = headerOf([...bootLoads, hot(0, 4)]);
    const { missing, stale } = compareWithLayout(header, layoutWith([dimm(hot(1))]));
    expect(missing.isEmpty).toBe(true);
    expect(stale.ranges).toEqual([hot(0), hot(2, 2)]);
  });

  test("virtio-mem is missing as far as it is plugged, and never stale in its region", () => {
    const device = { ...dimm(hot(0, 2)), kind: "virtio-mem" as const, region: hot(0, 8), maxSize: 8n * GIB };
    const layout = layoutWith([device]);
    expect(compareWithLayout(headerOf(bootLoads), layout).missing.ranges).toEqual([hot(0, 2)]);
    const more = compareWithLayout(headerOf([...bootLoads, hot(0, 6)]), layout);
    expect([more.missing.isEmpty, more.stale.isEmpty]).toEqual([true, true]);
  });

  test("virtio-mem that has nothing plugged is not missing", () => {
    const device = { ...dimm(hot(0)), kind: "virtio-mem" as const, range: undefined };
    expect(compareWithLayout(headerOf(bootLoads), layoutWith([device])).missing.isEmpty).toBe(true);
  });

  test("an NVDIMM is not missing where it is not described, and not stale where it is", () => {
    const layout = layoutWith([{ ...dimm(hot(0)), kind: "nvdimm" }]);
    expect(compareWithLayout(headerOf(bootLoads), layout).missing.isEmpty).toBe(true);
    expect(compareWithLayout(headerOf([...bootLoads, hot(0)]), layout).stale.isEmpty).toBe(true);
  });

  test("a machine without boot RAM makes all of it stale", () => {
    const { stale } = compareWithLayout(headerOf(bootLoads), layoutWith([], RangeSet.empty));
    expect(stale.ranges).toEqual(bootLoads);
  });
});
