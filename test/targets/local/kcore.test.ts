/** Kcore over files that change under it, as the kernel's own does. */
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { MemoryAccessError } from "../../../src/image/memory.ts";
import { RangeSet } from "../../../src/layout/range-set.ts";
import type { PhysicalRange } from "../../../src/layout/range.ts";
import { LocalError } from "../../../src/targets/local/error.ts";
import { Kcore } from "../../../src/targets/local/kcore.ts";
import { RootTree } from "../../../src/targets/local/tree.ts";
import { note, PAGE_OFFSET, writeKcore } from "./kcore-file.ts";
import { TempTree } from "./simulated-tree.ts";

const LOW = { start: 0x1000n, end: 0x9_f000n };
const HIGH = { start: 0x10_0000n, end: 0x20_0000n };
const DIMM = { start: 0x1_0000_0000n, end: 0x1_0001_0000n };

let tree: TempTree;
let listed: RangeSet;
let kcore: Kcore;
/** How often the kernel's list of RAM was read. */
let looks = 0;

beforeEach(async () => {
  tree = await TempTree.make();
  await tree.write("proc/version", "");
  listed = RangeSet.of([LOW, HIGH]);
  looks = 0;
  kcore = open(true);
});

afterEach(async () => {
  await kcore[Symbol.asyncDispose]();
  await tree[Symbol.asyncDispose]();
});

function open(isLive: boolean): Kcore {
  return new Kcore({
    tree: new RootTree(tree.root, isLive),
    systemRam: async () => {
      looks++;
      return listed;
    },
  });
}

/** Every byte says where it is. */
function pattern({ start, end }: PhysicalRange): Uint8Array {
  return Uint8Array.from({ length: Number(end - start) }, (_, i) => Number((start + BigInt(i)) % 251n));
}

function write(ram: readonly PhysicalRange[], dataOffset?: bigint): void {
  writeKcore(join(tree.root, "proc/kcore"), {
    ram,
    read: pattern,
    notes: note("VMCOREINFO", Buffer.from("OSRELEASE=6.1.0\n")),
    ...(dataOffset === undefined ? {} : { dataOffset }),
  });
}

describe("kcore", () => {
  test("reads physical memory, and says what of it is RAM", async () => {
    write([LOW, HIGH]);
    expect(await kcore.ranges()).toEqual([LOW, HIGH]);
    expect(await kcore.pageOffset()).toBe(PAGE_OFFSET);
    expect(await kcore.read(0x1_0123n, 300)).toEqual(pattern({ start: 0x1_0123n, end: 0x1_0123n + 300n }));
    expect(await kcore.read(HIGH.start, 0)).toEqual(new Uint8Array(0));
    expect(await kcore.vmcoreinfo()).toEqual(note("VMCOREINFO", Buffer.from("OSRELEASE=6.1.0\n")));
  });

  test("never reads what the kernel does not list as RAM", async () => {
    const reserved = { start: 0x4_0000n, end: 0x5_0000n };
    listed = listed.subtract(RangeSet.of([reserved]));
    write([LOW, HIGH]);
    expect(RangeSet.of(await kcore.ranges())).toEqual(listed);
    await expect(kcore.read(reserved.start, 8)).rejects.toThrow(MemoryAccessError);
    await expect(kcore.read(reserved.start - 8n, 16)).rejects.toThrow("has no RAM there");
    expect(await kcore.read(reserved.start - 8n, 8)).toEqual(
      pattern({ start: reserved.start - 8n, end: reserved.start }),
    );
  });

  test("finds memory that came after it was opened", async () => {
    write([LOW, HIGH]);
    await kcore.read(LOW.start, 8);
    write([LOW, HIGH, DIMM]);
    listed = listed.union(RangeSet.of([DIMM]));
    expect(await kcore.read(DIMM.start, 16)).toEqual(pattern({ start: DIMM.start, end: DIMM.start + 16n }));
    expect(await kcore.ranges()).toEqual([LOW, HIGH, DIMM]);
  });

  test("does not believe bytes of a file that has moved meanwhile", async () => {
    write([LOW, HIGH]);
    await kcore.read(LOW.start, 8);
    // More program headers: all data moves by a page, and what was read at the old place is other memory.
    write([LOW, HIGH, DIMM], 5n * 4096n);
    const span = { start: 0x1_2345n, end: 0x1_2345n + 64n };
    expect(await kcore.read(span.start, 64)).toEqual(pattern(span));
  });

  test("a copy does not change, and is looked at once", async () => {
    await kcore[Symbol.asyncDispose]();
    kcore = open(false);
    write([LOW, HIGH]);
    await kcore.read(LOW.start, 8);
    await kcore.read(HIGH.start, 8);
    expect(looks).toBe(1);
  });

  test("refuses to be written to, and says why", async () => {
    write([LOW, HIGH]);
    const before = await kcore.read(LOW.start, 8);
    await expect(kcore.write(LOW.start, new Uint8Array(8))).rejects.toThrow(
      "Cannot write 8 bytes at physical 0x1000: from inside a machine its memory is only read",
    );
    expect(await kcore.read(LOW.start, 8)).toEqual(before);
  });

  test.each([
    [-1n, 8],
    [0x1000n, -1],
    [0x1000n, 2 ** 40],
    [0x1000n, 0.5],
  ])("refuses to read at %s, %s bytes", async (address, length) => {
    write([LOW, HIGH]);
    await expect(kcore.read(address, length)).rejects.toThrow(MemoryAccessError);
  });

  test("names the file that is not there, is none, is no memory, or ends early", async () => {
    await expect(kcore.ranges()).rejects.toThrow(/proc\/kcore does not exist/);
    await tree.write(
      "proc/kcore",
      "not an ELF file, but text of more than 64 bytes, so that there is a header",
    );
    await expect(kcore.ranges()).rejects.toThrow(/proc\/kcore is not a kernel's memory.*magic/);
    writeKcore(join(tree.root, "proc/kcore"), {
      ram: [LOW],
      read: pattern,
      notes: new Uint8Array(4),
      dataOffset: 1n << 21n,
    });
    const { truncate } = await import("node:fs/promises");
    await truncate(join(tree.root, "proc/kcore"), 1 << 21);
    await expect(kcore.read(LOW.start, 8)).rejects.toThrow("ends before it");
    await tree.remove("proc/kcore");
    await tree.write("proc/kcore/sub", "");
    await kcore[Symbol.asyncDispose]();
    await expect(kcore.ranges()).rejects.toThrow(LocalError);
    await expect(kcore.ranges()).rejects.toThrow("is no regular file");
  });
});
