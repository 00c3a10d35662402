import { describe, expect, test } from "vitest";
import { encodeCoreHeader } from "../../src/elfcore/encode.ts";
import type { CoreHeader, ProgramHeader } from "../../src/elfcore/header.ts";
import { compareWithLayout } from "../../src/layout/described.ts";
import { LayoutError } from "../../src/layout/error.ts";
import { halfOpen } from "../../src/layout/range.ts";
import { wantedHeader } from "../../src/layout/wanted.ts";
import { bootLoads, bootRam, dimm, GIB, headerOf, hot, HOT, layoutWith, PAGE_OFFSET } from "./samples.ts";

const BEFORE_RAM = 3; // CPU note, VMCOREINFO, kernel text
const base = headerOf(bootLoads);

/** Program headers from the first boot RAM load on. */
function loadsOf(header: CoreHeader): readonly ProgramHeader[] {
  return header.programHeaders.slice(BEFORE_RAM);
}

function withPrograms(...programHeaders: readonly ProgramHeader[]): CoreHeader {
  return { ...base, programHeaders };
}

describe("wantedHeader where memory is added", () => {
  test("gives an accurate header back as it is", () => {
    const header = headerOf([...bootLoads, hot(0), hot(1)]);
    expect(wantedHeader(header, layoutWith([dimm(hot(0)), dimm(hot(1))]))).toBe(header);
  });

  test("appends one load for contiguous DIMMs, as the loader would have written it", () => {
    const wanted = wantedHeader(base, layoutWith([dimm(hot(1)), dimm(hot(0))]));
    expect(wanted).toEqual({ ...headerOf([...bootLoads, hot(0, 2)]), fileHeader: base.fileHeader });
    expect(encodeCoreHeader(wanted)).toEqual(encodeCoreHeader(headerOf([...bootLoads, hot(0, 2)])));
    expect(loadsOf(wanted).at(-1)).toEqual({
      p_type: 1,
      p_flags: 7,
      p_offset: HOT,
      p_vaddr: PAGE_OFFSET + HOT,
      p_paddr: HOT,
      p_filesz: 2n * GIB,
      p_memsz: 2n * GIB,
      p_align: 0n,
    });
  });

  test("does not grow boot RAM, though the first DIMM touches it, and does not join what touches already", () => {
    const header = headerOf([
      ...bootLoads.slice(0, 2),
      halfOpen(4n * GIB, 20n * GIB),
      halfOpen(20n * GIB, HOT),
    ]);
    const wanted = wantedHeader(header, layoutWith([dimm(hot(0))]));
    expect(wanted.programHeaders).toEqual([...header.programHeaders, ...loadsOf(headerOf([hot(0)]))]);
  });

  test("grows the load of the DIMM below", () => {
    const header = headerOf([...bootLoads, hot(0), hot(1)]);
    const wanted = wantedHeader(header, layoutWith([dimm(hot(0)), dimm(hot(1)), dimm(hot(2))]));
    expect(loadsOf(wanted)).toEqual(loadsOf(headerOf([...bootLoads, hot(0), hot(1, 2)])));
  });

  test("grows the load of the DIMM above downwards", () => {
    const header = headerOf([...bootLoads, hot(5), hot(9)]);
    const wanted = wantedHeader(header, layoutWith([dimm(hot(4)), dimm(hot(5)), dimm(hot(9))]));
    expect(loadsOf(wanted)).toEqual(loadsOf(headerOf([...bootLoads, hot(4, 2), hot(9)])));
  });

  test("joins the loads on both sides of a gap that is filled, and those of a chain of gaps", () => {
    const header = headerOf([...bootLoads, hot(0), hot(2), hot(4)]);
    const wanted = wantedHeader(header, layoutWith([dimm(hot(0, 6))]));
    expect(loadsOf(wanted)).toEqual(loadsOf(headerOf([...bootLoads, hot(0, 6)])));
    const outer = wantedHeader(headerOf([...bootLoads, hot(2)]), layoutWith([dimm(hot(1, 3))]));
    expect(loadsOf(outer)).toEqual(loadsOf(headerOf([...bootLoads, hot(1, 3)])));
  });

  test("follows a virtio-mem device as it grows", () => {
    const device = { ...dimm(hot(0, 3)), kind: "virtio-mem" as const, region: hot(0, 8) };
    const wanted = wantedHeader(headerOf([...bootLoads, hot(0)]), layoutWith([device]));
    expect(loadsOf(wanted)).toEqual(loadsOf(headerOf([...bootLoads, hot(0, 3)])));
  });

  test("inserts in ascending order", () => {
    const header = headerOf([...bootLoads, hot(4)]);
    const wanted = wantedHeader(header, layoutWith([dimm(hot(2)), dimm(hot(4)), dimm(hot(6))]));
    expect(loadsOf(wanted)).toEqual(loadsOf(headerOf([...bootLoads, hot(2), hot(4), hot(6)])));
  });

  test("leaves notes, text, backup and unknown program headers where they are", () => {
    const backup = { start: 0x1000n, end: 0x9_fc00n, fileOffset: 0x78f6_0000n };
    const header = headerOf([bootLoads[0]!, backup, ...bootLoads.slice(1)]);
    const unknown = { ...header.programHeaders[0]!, p_type: 0x6474_e550 };
    const programHeaders = [...header.programHeaders, unknown];
    const wanted = wantedHeader({ ...header, programHeaders }, layoutWith([dimm(hot(0))]));
    expect(wanted.programHeaders).toEqual([...programHeaders, ...loadsOf(headerOf([hot(0)]))]);
  });

  test("does not grow a load whose form it would have to change", () => {
    const header = headerOf([...bootLoads, hot(0)]);
    const odd = { ...header.programHeaders.at(-1)!, p_filesz: 1n };
    const oddHeader = withPrograms(...header.programHeaders.slice(0, -1), odd);
    const wanted = wantedHeader(oddHeader, layoutWith([dimm(hot(0)), dimm(hot(1))]));
    expect(wanted.programHeaders).toEqual([...oddHeader.programHeaders, ...loadsOf(headerOf([hot(1)]))]);
  });
});

describe("wantedHeader where memory is gone", () => {
  test("drops a DIMM's load and keeps the bytes of all others", () => {
    const header = headerOf([...bootLoads, hot(0), hot(1)]);
    const wanted = wantedHeader(header, layoutWith([dimm(hot(1))]));
    expect(loadsOf(wanted)).toEqual(loadsOf(headerOf([...bootLoads, hot(1)])));
  });

  test("cuts a load that stands for several DIMMs", () => {
    const header = headerOf([...bootLoads, hot(0, 5)]);
    const wanted = wantedHeader(header, layoutWith([dimm(hot(1)), dimm(hot(3))]));
    expect(loadsOf(wanted)).toEqual(loadsOf(headerOf([...bootLoads, hot(1), hot(3)])));
  });

  test("needs no base of the linear map for that", () => {
    const header = headerOf([...bootLoads, hot(0, 3)]);
    const [first, ...rest] = loadsOf(header);
    const programHeaders = [
      ...header.programHeaders.slice(0, BEFORE_RAM),
      { ...first!, p_vaddr: 0n },
      ...rest,
    ];
    const wanted = wantedHeader({ ...header, programHeaders }, layoutWith([dimm(hot(1))]));
    expect(wanted.programHeaders.at(-1)).toEqual(headerOf([hot(1)]).programHeaders.at(-1));
  });

  test("keeps a backup load even where its memory is called stale, and comes to rest", () => {
    const header = headerOf([{ start: 0x1000n, end: 0x9_fc00n, fileOffset: 0x78f6_0000n }]);
    const layout = layoutWith([], bootRam.subtract(bootRam));
    expect(compareWithLayout(header, layout).stale.isEmpty).toBe(false);
    expect(wantedHeader(header, layout)).toBe(header);
  });

  test("moves a DIMM that was replaced at another place", () => {
    const header = headerOf([...bootLoads, hot(0)]);
    const wanted = wantedHeader(header, layoutWith([dimm(hot(3))]));
    expect(loadsOf(wanted)).toEqual(loadsOf(headerOf([...bootLoads, hot(3)])));
  });
});

describe("wantedHeader where it cannot be known", () => {
  const layout = layoutWith([dimm(hot(0))]);

  test("refuses to guess the base of the linear map", () => {
    const [load] = loadsOf(base);
    const disagreeing = withPrograms(...base.programHeaders, { ...load!, p_vaddr: 0n });
    for (const header of [disagreeing, headerOf([])]) {
      expect(() => wantedHeader(header, layout)).toThrow(LayoutError);
      expect(() => wantedHeader(header, layout)).toThrow("do not agree on the base of the linear map");
    }
  });

  test("refuses a load that would be taken for the kernel's text", () => {
    const far = dimm(halfOpen(0x7000_0000_0000n, 0x7000_4000_0000n));
    expect(() => wantedHeader(base, layoutWith([far]))).not.toThrow();
    const tooFar = dimm(halfOpen(0x7fff_0000_0000n, 0x7fff_4000_0000n));
    const high = withPrograms({ ...loadsOf(base)[0]!, p_vaddr: 0xffff_ffff_0000_0000n + 0x10_0000n });
    expect(() => wantedHeader(high, layoutWith([tooFar]))).not.toThrow();
    const touching = dimm(halfOpen(0x8000_0000n, 0x9000_0000n));
    expect(() => wantedHeader(high, layoutWith([touching]))).toThrow("expected one below the kernel's image");
  });

  test("refuses more program headers than a core header can have, and does not take long about it", () => {
    const load = headerOf([hot(0, 2000)]).programHeaders.at(-1)!;
    const forged = withPrograms(...base.programHeaders, ...Array.from({ length: 65_000 }, () => load));
    const scattered = Array.from({ length: 250 }, (_, index) => dimm(hot(index * 4)));
    expect(() => wantedHeader(forged, layoutWith(scattered))).toThrow("expected at most 65534");
  });
});
