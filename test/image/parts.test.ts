/** The small readers of guest bytes, one by one. */
import { createHash } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { equalBytes, findBytes, findU64s, textUntilNul, u32, u64, u64Bytes } from "../../src/image/bytes.ts";
import { hex } from "../../src/elfcore/hex.ts";
import { elfcorehdrOf, findCommandLine, hasParameter } from "../../src/image/command-line.ts";
import { DigestPrefix } from "../../src/image/digest.ts";
import { encodeRegions, findRegionTables, regionTableAt, withRegionLast } from "../../src/image/purgatory.ts";
import { scanPages } from "../../src/image/scan.ts";
import { numberOf, parseVmcoreInfo, symbolOf } from "../../src/image/vmcoreinfo.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { CRASH, FakeKernel, le64, PLACES, text, vmcoreinfoNote } from "./fake-machine.ts";

const crash = RangeSet.of([CRASH]);
const region = (page: number, pages: number): { address: bigint; size: number } => ({
  address: CRASH.start + BigInt(page * 4096),
  size: pages * 4096,
});
const unused = { address: 0n, size: 0 };
const tableOf = (...used: { address: bigint; size: number }[]): { address: bigint; size: number }[] => [
  ...used,
  ...Array.from({ length: 16 - used.length }, () => unused),
];

describe("bytes", () => {
  test("findBytes finds what a search at every offset finds", () => {
    const few = fc.uint8Array({ max: 2, maxLength: 200 });
    fc.assert(
      fc.property(few, fc.uint8Array({ max: 2, minLength: 1, maxLength: 5 }), (hay, needle) => {
        const naive = Array.from({ length: hay.length }, (_, at) => at).filter(
          (at) => at + needle.length <= hay.length && needle.every((byte, i) => hay[at + i] === byte),
        );
        expect(findBytes(hay, needle)).toEqual(naive);
        expect(findBytes(hay, needle, 2)).toEqual(naive.slice(0, 2));
      }),
      { numRuns: 1000 },
    );
  });

  test("findU64s finds aligned values only", () => {
    const bytes = new Uint8Array(40);
    bytes.set(u64Bytes(0xffff_9e3a_1234_5678n), 8);
    bytes.set(u64Bytes(0xffff_9e3a_1234_5678n), 20);
    expect(findU64s(bytes, 0xffff_9e3a_1234_5678n)).toEqual([8]);
    expect(findU64s(new Uint8Array(80), 0n, 3)).toEqual([0, 8, 16]);
  });

  test("u32, u64 and u64Bytes agree, unsigned", () => {
    const bytes = u64Bytes(0xfedc_ba98_8765_4321n);
    expect(u32(bytes, 4)).toBe(0xfedc_ba98);
    expect(u64(bytes, 0)).toBe(0xfedc_ba98_8765_4321n);
    expect(hex(255n)).toBe("0xff");
  });

  test("text ends at the first NUL or at the end", () => {
    expect(textUntilNul(text("ab\0cd"))).toBe("ab");
    expect(textUntilNul(text("ab"))).toBe("ab");
  });

  test("bytes are equal where length and each of them are", () => {
    expect(equalBytes(text("abc"), text("abc"))).toBe(true);
    expect(equalBytes(text(""), text(""))).toBe(true);
    for (const other of ["ab", "abcd", "xbc", "axc", "abx"])
      expect(equalBytes(text("abc"), text(other))).toBe(false);
  });
});

describe("the command line", () => {
  test.each([
    ["elfcorehdr=0x2f000000 quiet", 0x2f00_0000n],
    ["quiet elfcorehdr=1031540K", 1_031_540n * 1024n],
    ["elfcorehdr=16K@0x3ef5d000", 0x3ef5_d000n],
    ["elfcorehdr=1M elfcorehdr=2M", 2n << 20n],
    ["notelfcorehdr=1M", undefined],
    ["elfcorehdr=", undefined],
    ["elfcorehdr=banana", undefined],
    ["elfcorehdr=0xfffffffffffffffff", undefined],
    ["", undefined],
  ])("%j gives the header's address", (line, address) => {
    expect(elfcorehdrOf(line)).toBe(address);
  });

  test("a parameter counts with and without a value, and not as part of another", () => {
    expect(hasParameter("a acpi_no_memhotplug b", "acpi_no_memhotplug")).toBe(true);
    expect(hasParameter("acpi_no_memhotplug=1", "acpi_no_memhotplug")).toBe(true);
    expect(hasParameter("xacpi_no_memhotplug acpi_no_memhotplugs", "acpi_no_memhotplug")).toBe(false);
  });

  test("of several lines the one that names the header is taken, whole", () => {
    const bytes = Buffer.concat([
      text("\0elfcorehdr=0x1000 old\0\0\x01console=ttyS0 root=/dev/ram elfcorehdr=8K\0"),
      new Uint8Array(20),
    ]);
    expect(findCommandLine(bytes, 0x100n, 0x2000n)).toEqual({
      address: 0x100n + 25n,
      text: "console=ttyS0 root=/dev/ram elfcorehdr=8K",
    });
    expect(findCommandLine(bytes, 0x100n, 0x3000n)).toBeUndefined();
  });
});

describe("VMCOREINFO", () => {
  test("gives symbols in hex and numbers in signed decimal", () => {
    const info = parseVmcoreInfo(PLACES.note, vmcoreinfoNote("6.1", 0xffff_ffff_8800_0000n, 0x100_0000n))!;
    expect(info.release).toBe("6.1");
    expect(symbolOf(info, "_stext")).toBe(0xffff_ffff_8800_0000n);
    expect(numberOf(info, "phys_base")).toBe(-0x700_0000n);
    expect(symbolOf(info, "none")).toBeUndefined();
    expect(numberOf(info, "none")).toBeUndefined();
  });

  test("is refused with another name, size or release", () => {
    const note = vmcoreinfoNote("6.1", 0xffff_ffff_8800_0000n, 0x100_0000n);
    const patched = (at: number, byte: number): Uint8Array => {
      const copy = note.slice();
      copy[at] = byte;
      return copy;
    };
    expect(parseVmcoreInfo(0n, note)).toBeDefined();
    for (const bytes of [
      patched(0, 10),
      patched(7, 1),
      patched(12, 0x20),
      patched(34, 7),
      note.subarray(0, 20),
    ]) {
      expect(parseVmcoreInfo(0n, bytes)).toBeUndefined();
    }
    expect(parseVmcoreInfo(0n, vmcoreinfoNote("6.1 \x1b[2J", 0n, 0n))).toBeUndefined();
  });
});

describe("a region table", () => {
  const good = tableOf(region(0, 1), region(4, 2));

  test("is read back as it was encoded, with the rest of its segment before and behind", () => {
    const bytes = new Uint8Array(1024);
    bytes.set(encodeRegions(good), 512);
    expect(regionTableAt(bytes, 512, crash)).toEqual(good);
    const [found] = findRegionTables(bytes, CRASH.start, crash);
    expect(found).toEqual({ address: CRASH.start + 512n, regions: good });
    expect(findRegionTables(bytes, CRASH.start, crash, { anchors: [region(4, 2).address] })[0]).toEqual(
      found,
    );
    expect(findRegionTables(bytes, CRASH.start, crash, { anchors: [region(9, 2).address] })).toEqual([]);
  });

  test.each([
    ["with its first entry unused", [unused, ...good.slice(0, 15)]],
    [
      "with an entry of size 0 at an address",
      tableOf(region(0, 1), { address: CRASH.start + 4096n, size: 0 }),
    ],
    ["with an entry that is not page aligned", tableOf({ address: CRASH.start + 8n, size: 4096 })],
    ["with an entry that is half a page", tableOf({ address: CRASH.start, size: 2048 })],
    ["with an entry outside crash memory", tableOf({ address: CRASH.end, size: 4096 })],
    ["with an entry that reaches beyond crash memory", tableOf({ address: CRASH.end - 4096n, size: 8192 })],
    ["with entries that overlap", tableOf(region(0, 4), region(3, 1))],
    ["with an entry twice", tableOf(region(0, 1), region(0, 1))],
  ])("%s is none", (_, regions) => {
    expect(regionTableAt(encodeRegions(regions), 0, crash)).toBeUndefined();
  });

  test("whose entry passes 2^64 is none", () => {
    const bytes = encodeRegions(good);
    bytes.set(le64(-0x1000n), 16);
    bytes.set(le64(0x2000n), 24);
    expect(regionTableAt(bytes, 0, crash)).toBeUndefined();
    bytes.set(le64(CRASH.start), 16);
    bytes.set(le64(-0x1000n), 24);
    expect(regionTableAt(bytes, 0, crash)).toBeUndefined();
  });

  test("is none at an offset outside its bytes", () => {
    expect(regionTableAt(encodeRegions(good), -16, crash)).toBeUndefined();
    expect(regionTableAt(encodeRegions(good), 16, crash)).toBeUndefined();
  });

  test("must list the image's segments where they are known", () => {
    const bytes = encodeRegions(good);
    expect(regionTableAt(bytes, 0, crash, { segments: [region(0, 1), region(4, 2), region(8, 1)] })).toEqual(
      good,
    );
    expect(regionTableAt(bytes, 0, crash, { segments: [region(0, 1), region(4, 1)] })).toBeUndefined();
  });

  test("may list one region outside of the segments, where the header has moved to", () => {
    const bytes = encodeRegions(good);
    const segments = [region(0, 1), region(8, 1)];
    const moved = region(4, 2).address;
    expect(regionTableAt(bytes, 0, crash, { segments, moved })).toEqual(good);
    expect(regionTableAt(bytes, 0, crash, { segments, moved: moved + 4096n })).toBeUndefined();
    expect(regionTableAt(bytes, 0, crash, { segments: [region(8, 1)], moved })).toBeUndefined();
    // Its place has nothing of a segment.
    expect(regionTableAt(bytes, 0, crash, { segments: [...segments, region(5, 2)], moved })).toBeUndefined();
    expect(regionTableAt(bytes, 0, crash, { segments: [...segments, region(3, 2)], moved })).toBeUndefined();
  });

  test("may list regions outside of the segments where the image was re-armed, each of them apart from all", () => {
    const bytes = encodeRegions(good);
    const rules = { segments: [region(0, 1)], residual: true };
    expect(regionTableAt(bytes, 0, crash, rules)).toEqual(good);
    expect(regionTableAt(bytes, 0, crash, { ...rules, residual: false })).toBeUndefined();
    for (const other of [region(5, 2), region(3, 2), region(4, 1), region(4, 3)])
      expect(regionTableAt(bytes, 0, crash, { ...rules, segments: [other] })).toBeUndefined();
  });

  test("with a region put last keeps all others in their order", () => {
    const regions = tableOf(region(0, 1), region(4, 2), region(8, 1));
    expect(withRegionLast(regions, region(4, 2).address)).toEqual(
      tableOf(region(0, 1), region(8, 1), region(4, 2)),
    );
    expect(withRegionLast(regions, 0n)).toEqual(regions);
  });
});

describe("the hash of the rest", () => {
  test("gives the digest of the table with the header last, wherever the header was", async () => {
    const { memory } = new FakeKernel();
    const regions = [region(0, 1), region(4, 2), region(8, 1)];
    regions.forEach(({ address }, i) => memory.poke(address, Uint8Array.of(i + 1)));
    const digestOf = (list: typeof regions): Uint8Array =>
      createHash("sha256")
        .update(Buffer.concat(list.map((r) => memory.peek(r.address, r.size))))
        .digest();
    for (const { address, size } of regions) {
      const finding = { table: { address: 0n, regions: tableOf(...regions) }, value: digestOf(regions) };
      const prefix = await DigestPrefix.compute(memory, nodeSha256, finding, address);
      const last = withRegionLast(regions, address).map((r) => ({ ...r }));
      expect(prefix.finish(memory.peek(address, size))).toEqual(digestOf(last));
      // The state forks: a second digest is not spoilt by the first.
      expect(prefix.finish(memory.peek(address, size))).toEqual(digestOf(last));
    }
  });

  test("is refused where the bytes do not give the digest, or the table lacks the header", async () => {
    const { memory } = new FakeKernel();
    const finding = { table: { address: 0n, regions: tableOf(region(0, 1)) }, value: new Uint8Array(32) };
    const { address } = region(0, 1);
    await expect(DigestPrefix.compute(memory, nodeSha256, finding, address)).rejects.toMatchObject({
      kind: "changed",
    });
    await expect(DigestPrefix.compute(memory, nodeSha256, finding, 0n)).rejects.toMatchObject({
      kind: "changed",
    });
  });
});

describe("the scan", () => {
  test("lists pages by what their first bytes are, in whole pages of the ranges only", async () => {
    const { memory } = new FakeKernel();
    const note = vmcoreinfoNote("6.1", 0n, 0n);
    memory.poke(0x204_3000n, note);
    memory.poke(
      0x204_5000n,
      Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 62, 0),
    );
    expect(await scanPages(memory, [{ start: 0x204_2800n, end: 0x204_5fffn }])).toEqual({
      coreHeaders: [],
      vmcoreinfoNotes: [0x204_3000n],
      complete: true,
    });
    expect((await scanPages(memory, [{ start: 0x204_4000n, end: 0x204_6000n }])).coreHeaders).toEqual([
      0x204_5000n,
    ]);
  });
});
