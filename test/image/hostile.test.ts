/** A guest that wants to crash us, to keep us busy, or to have us write elsewhere. All seeds are fixed. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { buildCoreHeader } from "../../src/elfcore/build.ts";
import { encodeCoreHeader } from "../../src/elfcore/encode.ts";
import { PT_LOAD } from "../../src/elfcore/header.ts";
import { findCommandLine } from "../../src/image/command-line.ts";
import { isProven, proveCoreHeader } from "../../src/image/core-header.ts";
import { findRunningKernel } from "../../src/image/kernel.ts";
import { readKimage } from "../../src/image/kimage.ts";
import { locateImage, type Location } from "../../src/image/locate.ts";
import { MemoryAccessError } from "../../src/image/memory.ts";
import { findRegionTables, regionTableAt } from "../../src/image/purgatory.ts";
import { parseVmcoreInfo, readVmcoreInfo } from "../../src/image/vmcoreinfo.ts";
import type { PhysicalRange } from "../../src/layout/range.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { load } from "./fake-loaders.ts";
import {
  BOOT_RAM,
  CRASH,
  FakeKernel,
  KERNEL,
  KERNEL_SIZE,
  le64,
  noise,
  PAGE_OFFSET,
  PLACES,
  STEXT,
  text,
  vmcoreinfoNote,
} from "./fake-machine.ts";
import { changes, interesting, survives } from "./survives.ts";

const crash = RangeSet.of([CRASH]);

describe("every reader survives changed bytes", () => {
  test("many headers with as many linear maps, and pointers that lead nowhere, are given up on", async () => {
    const headers = 40;
    const pointers = 3000;
    const kernelStart = KERNEL + 0x10_0000n;
    const reserved = { start: 0x1800_0000n, end: 0x1810_0000n };
    const ram = RangeSet.of([{ start: 0x10_0000n, end: 0x2000_0000n }]);
    const { memory } = new FakeKernel({ ram, crashkRes: reserved });
    for (let h = 0; h < headers; h++) {
      const pageOffset = 0xffff_8880_0000_0000n + (BigInt(h) << 40n);
      const header = buildCoreHeader({
        cpuNotes: [],
        vmcoreinfo: { paddr: PLACES.note, size: 4132n },
        kernelText: { paddr: KERNEL, vaddr: STEXT, size: 0x30_0000n },
        ram: [{ start: 0x10_0000n, end: reserved.start }],
        pageOffset,
      });
      memory.poke(reserved.start + BigInt(h * 4096), encodeCoreHeader(header));
      for (let i = 0; i < pointers; i++) {
        const target = pageOffset + 0x800_0000n + BigInt(i * 1024);
        memory.poke(kernelStart + BigInt((h * pointers + i) * 8), le64(target));
      }
    }
    const location = await locateImage(memory, nodeSha256);
    expect(location).toMatchObject({
      found: "unknown",
      reason: expect.stringMatching(/given up after \d+ reads/),
    });
    expect(memory.reads.length).toBeLessThan(23_000);
  });

  test("proveCoreHeader", async () => {
    const kernel = new FakeKernel();
    const { headerAddress, header } = load(kernel, "load");
    const good = encodeCoreHeader(header);
    const words = fc.array(fc.tuple(fc.nat({ max: good.length / 8 - 1 }), interesting), { maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(changes(good.length), words, async (bytes, values) => {
        const bad = good.slice();
        for (const [at, value] of values) bad.set(le64(value), at * 8);
        for (const [at, byte] of bytes) if (values.length === 0 || at < 64) bad[at] = byte;
        kernel.memory.poke(headerAddress, bad);
        const verdict = await survives(() => proveCoreHeader(kernel.memory, BOOT_RAM, headerAddress));
        expect(verdict).toBeDefined();
      }),
      { numRuns: 2000, seed: 1 },
    );
  });

  test("readKimage", async () => {
    const kernel = new FakeKernel();
    load(kernel, "file");
    const good = kernel.memory.peek(PLACES.kimage, 576);
    const words = fc.array(fc.tuple(fc.nat({ max: 71 }), interesting), { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(words, async (values) => {
        const bad = good.slice();
        for (const [at, value] of values) bad.set(le64(value), at * 8);
        kernel.memory.poke(PLACES.kimage, bad);
        const image = await survives(() => readKimage(kernel.memory, PLACES.kimage, crash));
        for (const { address, size } of image?.segments ?? []) {
          expect(crash.covers({ start: address, end: address + BigInt(size) })).toBe(true);
        }
      }),
      { numRuns: 2000, seed: 2 },
    );
  });

  test("regionTableAt and findRegionTables", async () => {
    const entry = fc.tuple(interesting, fc.oneof(interesting, fc.constantFrom(0n, 4096n, 8192n)));
    await fc.assert(
      fc.asyncProperty(fc.array(entry, { maxLength: 40 }), fc.nat({ max: 64 }), async (entries, shift) => {
        const bytes = new Uint8Array(1024);
        entries.forEach(([address, size], i) => {
          bytes.set(le64(address), i * 16);
          bytes.set(le64(size), i * 16 + 8);
        });
        const tables = await survives(() => findRegionTables(bytes, CRASH.start, crash));
        await survives(() => regionTableAt(bytes, shift * 8, crash));
        for (const { regions } of tables ?? []) {
          expect(regions).toHaveLength(16);
          for (const { address, size } of regions.filter((r) => r.size > 0))
            expect(crash.covers({ start: address, end: address + BigInt(size) })).toBe(true);
        }
      }),
      { numRuns: 2000, seed: 3 },
    );
  });

  test("parseVmcoreInfo and findRunningKernel", async () => {
    const kernel = new FakeKernel();
    const good = vmcoreinfoNote("6.1", STEXT, KERNEL);
    await fc.assert(
      fc.asyncProperty(changes(160), async (bytes) => {
        const bad = good.slice();
        for (const [at, byte] of bytes) bad[at] = byte;
        const info = await survives(() => parseVmcoreInfo(PLACES.note, bad));
        const found = info && (await survives(() => findRunningKernel(kernel.memory, BOOT_RAM, info)));
        for (const range of found?.crashMemory ?? []) expect(BOOT_RAM.covers(range)).toBe(true);
      }),
      { numRuns: 1000, seed: 4 },
    );
  });

  test("findCommandLine", async () => {
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.constantFrom("elfcorehdr=", "0x", "16K", "@", " ", "\0").map((s) => text(s)),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 60 }), async (pieces) => {
        const line = await survives(() => findCommandLine(Buffer.concat(pieces), 0n, 16_384n));
        expect(line?.text ?? "elfcorehdr=").toContain("elfcorehdr=");
      }),
      { numRuns: 2000, seed: 5 },
    );
  });
});

test("boot parameters that are changed lead a look to a header that is proven, or to none", async () => {
  const kernel = new FakeKernel();
  const { segments, headerAddress } = load(kernel, "file");
  const { start, end } = segments.get("boot-params")!;
  const good = kernel.memory.peek(start, Number(end - start));
  // Copies of the header where it could have moved to: forged boot parameters may name one.
  const copy = kernel.memory.peek(headerAddress, 4096);
  for (let page = 0x100n; page < 0x120n; page++) kernel.memory.poke(CRASH.start + page * 4096n, copy);
  const name = fc.oneof(
    fc.nat({ max: 0x3ff }).map((page) => `elfcorehdr=0x${(CRASH.start + BigInt(page * 4096)).toString(16)}`),
    fc.constantFrom("elfcorehdr=0xffffffffffffffff", "elfcorehdr=1K", "elfcorehdr=16E", "x".repeat(4000)),
  );
  const outcomes = new Set<string>();
  await fc.assert(
    fc.asyncProperty(changes(4096), fc.option(name), async (bytes, line) => {
      kernel.memory.poke(start, good);
      for (const [at, byte] of bytes) kernel.memory.poke(start + BigInt(at), Uint8Array.of(byte));
      if (line !== null) kernel.memory.poke(start + 0x1000n, text(`${line}\0`));
      const location = await look(kernel);
      expect(location).toBeDefined();
      outcomes.add(location!.found);
      if (location?.found !== "image") return;
      const { headerAddress: found } = location.image;
      expect(found === headerAddress || !isIn(segments.values(), found)).toBe(true);
      // Whatever was forged, boot parameters are in the digest.
      expect(location.image.digest.state).not.toBe("covers-header");
    }),
    { numRuns: 200, seed: 6 },
  );
  expect(outcomes).toEqual(new Set(["image", "unknown"]));
}, 30_000);

const isIn = (ranges: Iterable<PhysicalRange>, address: bigint): boolean =>
  [...ranges].some(({ start, end }) => start <= address && address < end);

const look = (kernel: FakeKernel): Promise<Location | undefined> =>
  survives(() => locateImage(kernel.memory, nodeSha256));

describe("a machine made to keep us busy", () => {
  test("by 5,000 pages of fake headers and notes hides nothing", async () => {
    const flood = { start: 0x1000_0000n, end: 0x1200_0000n };
    const kernel = new FakeKernel({ ram: BOOT_RAM.union(RangeSet.of([flood])) });
    const { headerAddress } = load(kernel, "file");
    const fake = kernel.memory.peek(headerAddress, 64);
    for (let page = 0n; page < 5000n; page++) kernel.memory.poke(flood.start + page * 4096n, fake);
    expect(await look(kernel)).toMatchObject({ found: "image", image: { headerAddress } });
    const other = new FakeKernel({ ram: BOOT_RAM.union(RangeSet.of([flood])) });
    load(other, "file");
    const note = vmcoreinfoNote("6.6.6", STEXT, flood.end - 4096n).subarray(0, 200);
    for (let page = 0n; page < 5000n; page++) other.memory.poke(flood.start + page * 4096n, note);
    expect(await look(other)).toMatchObject({ found: "image" });
  });

  test("by copies of a header all over crash memory is found out", async () => {
    const kernel = new FakeKernel();
    const { header } = load(kernel, "file");
    for (let page = 0n; page < 1000n; page++)
      kernel.memory.poke(CRASH.start + page * 4096n, encodeCoreHeader(header));
    expect((await look(kernel))?.found).toBe("image");
    kernel.setPointer(0n);
    expect(await look(kernel)).toMatchObject({ found: "unknown" });
  });

  test.each([65_534, 65_535, 0])("by a header with %i program headers", async (count) => {
    const kernel = new FakeKernel();
    const { headerAddress, header } = load(kernel, "file-6.6");
    const one = encodeCoreHeader(header).subarray(64 + 6 * 56, 64 + 7 * 56);
    // 3.5 MiB of program headers, as much as crash memory has.
    for (let i = 7; i < 65_534; i++) kernel.memory.poke(headerAddress + BigInt(64 + 56 * i), one);
    kernel.memory.poke(headerAddress + 56n, Uint8Array.of(count & 255, count >> 8));
    expect((await look(kernel))?.found).toBe("unknown");
  });

  test("by headers that reach beyond RAM, or describe themselves", async () => {
    const kernel = new FakeKernel();
    const { headerAddress, header } = load(kernel, "file");
    const bytes = encodeCoreHeader(header);
    bytes[56] = 0xfe;
    bytes[57] = 0xff;
    kernel.memory.poke(CRASH.end - 4096n, bytes);
    expect(
      reasonOf(await survives(() => proveCoreHeader(kernel.memory, BOOT_RAM, CRASH.end - 4096n))),
    ).toContain("beyond RAM");
    const self = { ...header.programHeaders.at(-1)!, p_type: PT_LOAD, p_paddr: CRASH.start, p_memsz: 4096n };
    kernel.memory.poke(
      headerAddress,
      encodeCoreHeader({ ...header, programHeaders: [...header.programHeaders, self] }),
    );
    expect(reasonOf(await survives(() => proveCoreHeader(kernel.memory, BOOT_RAM, headerAddress)))).toContain(
      "a copy",
    );
    expect((await look(kernel))?.found).toBe("unknown");
  });

  test("by a note that lies in the header itself", async () => {
    const kernel = new FakeKernel();
    const { headerAddress } = load(kernel, "file");
    for (const entry of [0n, 1n, 2n])
      kernel.memory.poke(headerAddress + 64n + entry * 56n + 24n, le64(headerAddress));
    expect((await look(kernel))?.found).toBe("unknown");
  });

  test("by a purgatory that takes all of crash memory, full of what may be tables", async () => {
    const kernel = new FakeKernel();
    const { headerAddress } = load(kernel, "file");
    for (let at = CRASH.start + 0x10_0000n; at < CRASH.end; at += 4096n) {
      const page = new Uint8Array(4096);
      for (let i = 0; i < 4096; i += 16) {
        page.set(le64(at), i);
        page.set(le64(4096n), i + 8);
      }
      kernel.memory.poke(at, page);
    }
    for (const size of [0x8_0000n, CRASH.end - CRASH.start - 0x10_0000n]) {
      const start = CRASH.start + 0x10_0000n;
      kernel.setImage(start, [
        { start: headerAddress, end: headerAddress + 4096n },
        { start, end: start + size },
      ]);
      expect(await look(kernel)).toMatchObject({ found: "image", image: { digest: { state: "not-found" } } });
    }
  });

  test("by kernel data that is nothing but the beginning of a name, or pointers", async () => {
    const kernel = new FakeKernel();
    load(kernel, "file");
    kernel.memory.poke(KERNEL, new Uint8Array(0x1_0000).fill(0x43));
    const pointers = new Uint8Array(0x1_0000);
    for (let i = 0; i < pointers.length; i += 8) pointers.set(le64(PAGE_OFFSET + 0x200_0000n + BigInt(i)), i);
    kernel.memory.poke(KERNEL + 0x3_0000n - 0x1_0000n + 0x100n, pointers.subarray(0, 0xff00));
    expect(await look(kernel)).toBeDefined();
    expect(kernel.memory.reads.length).toBeLessThan(60_000);
  });

  test("by crash memory that is all of its RAM", async () => {
    const kernel = new FakeKernel();
    load(kernel, "file");
    for (const range of BOOT_RAM) {
      kernel.memory.poke(PLACES.crashkRes, Buffer.concat([le64(range.start), le64(range.end - 1n)]));
      expect(await look(kernel)).toBeDefined();
    }
    kernel.memory.poke(PLACES.crashkRes, Buffer.concat([le64(0n), le64(-1n)]));
    expect(await look(kernel)).toBeDefined();
  });

  test("by a kernel of noise", async () => {
    for (let seed = 1; seed < 20; seed++) {
      const kernel = new FakeKernel();
      load(kernel, "load");
      kernel.memory.poke(KERNEL, noise(KERNEL_SIZE, seed));
      expect(await look(kernel)).toMatchObject({ found: "image", image: { loaded: "unconfirmed" } });
    }
  });
});

function reasonOf(verdict: Awaited<ReturnType<typeof proveCoreHeader>> | undefined): string {
  return verdict && !isProven(verdict) ? verdict.reason : "";
}

test("a note in memory that vanishes is our own error", async () => {
  const { memory } = new FakeKernel();
  memory.setRam(RangeSet.empty);
  await expect(readVmcoreInfo(memory, PLACES.note)).rejects.toBeInstanceOf(MemoryAccessError);
});
