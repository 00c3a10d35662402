import { mkdir, mkdtemp, open, rm, stat, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { QmpClient } from "../../../src/targets/qemu/qmp.ts";
import { RamFile, RamFileError } from "../../../src/targets/qemu/ram-file.ts";
import { type DirectRam, lookForDirectRam } from "../../../src/targets/qemu/direct-ram.ts";
import { collectGarbage } from "../../collect-garbage.ts";
import { type FakeGuest, startFakeGuest } from "./fake-guest.ts";
import type { Handler } from "./fake-qmp.ts";

const BLOCK = 0x20000;
const HOST = 0x7f0000000000n;

let root = "";
const cleanUps: (() => Promise<unknown>)[] = [];
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "kdh-test-"));
});
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
  await rm(root, { recursive: true, force: true });
});

/** 128 KiB of shared boot RAM, in the file `ram`; its first 256 bytes are not zero. */
async function guestWith(
  type: "file" | "memfd",
  handlers: Readonly<Record<string, Handler>> = {},
  ramblock = "",
): Promise<{ readonly fake: FakeGuest; readonly qmp: QmpClient; readonly ram: string }> {
  const ram = join(root, "ram");
  const bytes = Buffer.alloc(BLOCK);
  for (let at = 0; at < 256; at++) bytes[at] = at;
  await writeFile(ram, bytes);
  const fake = await startFakeGuest({
    mtree: () =>
      'FlatView #0\n AS "memory", root: system\n  0000000000000000-000000000001ffff (prio 0, ram): ram0\n',
    handlers: {
      "query-memdev": () => [{ id: "ram0", size: BLOCK, share: true }],
      "query-memory-devices": () => [],
      "qom-list": () => [{ name: "ram0", type: `child<memory-backend-${type}>` }],
      "qom-get": ({ path, property }) => {
        if (path === "/machine") return "/objects/ram0";
        return property === "mem-path" ? ram : 0;
      },
      ...handlers,
    },
    ...(ramblock === "" ? {} : { ramblock }),
  });
  cleanUps.push(fake.stop);
  for (let at = 0; at < 256; at++) fake.memory.set(BigInt(at), at);
  const qmp = await QmpClient.connect(fake.path);
  cleanUps.push(async () => await qmp.close());
  return { fake, qmp, ram };
}

const RAMBLOCK =
  `              Block Name    PSize              Offset               Used              Total                HVA  RO\r\n` +
  `                    ram0    4 KiB  0x0000000000000000 0x0000000000020000 0x0000000000020000 0x00007f0000000000  rw\r\n`;

/** A procfs in which process 4001 holds the socket and has `file` mapped. */
async function procWith(socket: string, file: string, permissions = "rw-s", inode?: bigint): Promise<string> {
  const proc = join(root, "proc");
  await mkdir(join(proc, "net"), { recursive: true });
  await writeFile(join(proc, "net/unix"), `Num\n0: 00000002 00000000 00010000 0001 01 777 ${socket}\n`);
  await mkdir(join(proc, "4001/fd"), { recursive: true });
  await symlink("socket:[777]", join(proc, "4001/fd/3"));
  await symlink(file, join(proc, "4001/fd/8"));
  await symlink("/", join(proc, "4001/cwd"));
  const number = inode ?? (await stat(file, { bigint: true })).ino;
  const end = HOST + BigInt(BLOCK);
  await writeFile(
    join(proc, "4001/maps"),
    `${HOST.toString(16)}-${end.toString(16)} ${permissions} 00000000 00:01 ${number} ${file}\n`,
  );
  return proc;
}

describe("lookForDirectRam by path", () => {
  it("believes a file whose pages are the guest's", async () => {
    const { qmp } = await guestWith("file");
    const shared = await lookForDirectRam(qmp, { proc: join(root, "none") });
    const bytes = new Uint8Array(4);
    shared.blocks.get("ram0")?.read(16n, bytes);
    expect(bytes).toEqual(Uint8Array.of(16, 17, 18, 19));
    shared.close();
  });

  it("does not believe another guest's file", async () => {
    const { qmp, fake } = await guestWith("file");
    fake.memory.set(5n, 99);
    const found = await lookForDirectRam(qmp, { proc: join(root, "none") });
    expect(found.blocks.size).toBe(0);
    expect(found.missing.get("ram0")).toMatch(/".*ram" has other contents than the guest/);
  });

  it("does not believe zeros", async () => {
    const { qmp, fake, ram } = await guestWith("file");
    fake.memory.clear();
    await writeFile(ram, Buffer.alloc(BLOCK));
    const found = await lookForDirectRam(qmp, { proc: join(root, "none") });
    expect(found.missing.get("ram0")).toContain("all zeros so far");
  });

  it.each([
    ["is too short", async (ram: string) => await truncate(ram, 4096), "has 4096 bytes and the block 131072"],
    ["is gone", async (ram: string) => await rm(ram), "cannot be opened"],
    ["is a directory", async (ram: string) => (await rm(ram), await mkdir(ram)), "cannot be opened"],
  ])("says so when the file %s", async (_name, spoil, words) => {
    const { qmp, ram } = await guestWith("file");
    await spoil(ram);
    const found = await lookForDirectRam(qmp, { proc: join(root, "none") });
    expect(found.missing.get("ram0")).toContain(words);
    expect(found.blocks.size).toBe(0);
  });

  it("says what would help with a memfd when /proc cannot be read", async () => {
    const { qmp } = await guestWith("memfd");
    const found = await lookForDirectRam(qmp, { proc: join(root, "none") });
    expect(found.missing.get("ram0")).toContain("run as root or as QEMU's user");
  });
});

describe("lookForDirectRam by mapping", () => {
  it("finds a memfd through the process's descriptors, zeros or not", async () => {
    const { qmp, fake, ram } = await guestWith("memfd", {}, RAMBLOCK);
    fake.memory.clear();
    await writeFile(ram, Buffer.alloc(BLOCK));
    const proc = await procWith(fake.path, ram);
    const found = await lookForDirectRam(qmp, { proc });
    expect(found.missing).toEqual(new Map());
    found.blocks.get("ram0")?.write(BigInt(BLOCK - 2), Uint8Array.of(1, 2));
    const again = await lookForDirectRam(qmp, { proc, known: found });
    expect(again.blocks.get("ram0")).toBe(found.blocks.get("ram0"));
    found.close();
  });

  it("does not take a private mapping for shared RAM", async () => {
    const { qmp, fake, ram } = await guestWith("memfd", {}, RAMBLOCK);
    const found = await lookForDirectRam(qmp, { proc: await procWith(fake.path, ram, "rw-p") });
    expect(found.blocks.size).toBe(0);
  });

  it("does not take another file of the same name for the mapped one", async () => {
    const { qmp, fake, ram } = await guestWith("file", {}, RAMBLOCK);
    const found = await lookForDirectRam(qmp, { proc: await procWith(fake.path, ram, "rw-s", 12345n) });
    expect(found.missing.get("ram0")).toContain("is another file than QEMU has mapped");
  });
});

const inProcess = ({ blocks }: DirectRam): readonly string[] =>
  [...blocks].filter(([, { isProcess }]) => isProcess).map(([name]) => name);

describe("lookForDirectRam in QEMU's own memory", () => {
  /** Low enough for a sparse file of that size to stand in for the process's memory. */
  const LOW = 0x10000000n;
  const LOW_RAMBLOCK = RAMBLOCK.replace("0x00007f0000000000", "0x0000000010000000");
  const PRIVATE = { "query-memdev": () => [{ id: "ram0", size: BLOCK, share: false }] };
  const mapping = (end = LOW + BigInt(BLOCK), permissions = "rw-p"): string =>
    `${LOW.toString(16)}-${end.toString(16)} ${permissions} 00000000 00:00 0 \n`;

  /** A guest with private RAM in a process whose memory has `ram` at `LOW`. */
  async function privateGuest(
    maps: string,
    ram: Uint8Array = Buffer.from(Array.from({ length: 256 }, (_, at) => at)),
  ): Promise<{
    readonly qmp: QmpClient;
    readonly fake: FakeGuest;
    readonly proc: string;
    readonly mem: string;
  }> {
    const { qmp, fake, ram: file } = await guestWith("file", PRIVATE, LOW_RAMBLOCK);
    const proc = await procWith(fake.path, file);
    await writeFile(join(proc, "4001/maps"), maps);
    const mem = join(proc, "4001/mem");
    const handle = await open(mem, "w");
    await handle.write(ram, 0, ram.length, Number(LOW));
    await handle.truncate(Number(LOW) + 2 * BLOCK);
    await handle.close();
    return { qmp, fake, proc, mem };
  }

  it("reads and writes private boot RAM there, never beyond the block, and keeps it open", async () => {
    const { qmp, proc, mem } = await privateGuest(mapping());
    const found = await lookForDirectRam(qmp, { proc });
    expect(found.missing).toEqual(new Map());
    expect(inProcess(found)).toEqual(["ram0"]);
    const block = found.blocks.get("ram0")!;
    block.write(BigInt(BLOCK - 2), Uint8Array.of(1, 2));
    expect(() => block.write(BigInt(BLOCK - 1), Uint8Array.of(1, 2))).toThrow(RamFileError);
    const written = Buffer.alloc(4);
    const handle = await open(mem, "r");
    await handle.read(written, 0, 4, Number(LOW) + BLOCK - 2);
    await handle.close();
    expect(written).toEqual(Buffer.of(1, 2, 0, 0));
    const again = await lookForDirectRam(qmp, { proc, known: found });
    expect(again.blocks.get("ram0")).toBe(block);
    found.close();
  });

  it("takes a block that lies in several adjacent mappings", async () => {
    const half = LOW + BigInt(BLOCK / 2);
    const rest = `${half.toString(16)}-${(LOW + BigInt(BLOCK)).toString(16)} rw-p 00000000 00:00 0 \n`;
    const { qmp, proc } = await privateGuest(mapping(half) + rest);
    const found = await lookForDirectRam(qmp, { proc });
    expect(inProcess(found)).toEqual(["ram0"]);
    found.close();
  });

  it.each([
    ["ends early", mapping(LOW + BigInt(BLOCK) - 4096n), "its memory backend has share=off"],
    ["cannot be written", mapping(LOW + BigInt(BLOCK), "r--p"), "its memory backend has share=off"],
  ])("does not use it where the mapping %s", async (_name, maps, words) => {
    const { qmp, proc } = await privateGuest(maps);
    const found = await lookForDirectRam(qmp, { proc });
    expect(found.blocks.size).toBe(0);
    expect(found.missing.get("ram0")).toBe(words);
  });

  it("does not believe what is not the guest's", async () => {
    const { qmp, proc } = await privateGuest(mapping(), Buffer.alloc(256, 0xee));
    const found = await lookForDirectRam(qmp, { proc });
    expect(found.blocks.size).toBe(0);
    expect(found.missing.get("ram0")).toContain("has other contents than the guest");
  });

  it("says why where it may not be opened", async () => {
    const { qmp, proc, mem } = await privateGuest(mapping());
    await rm(mem);
    const found = await lookForDirectRam(qmp, { proc });
    expect(found.missing.get("ram0")).toContain("share=off, and QEMU's own memory cannot be opened (ENOENT");
  });
});

describe("RamFile", () => {
  it("never reads or writes beyond its file", async () => {
    const path = join(root, "block");
    await writeFile(path, Buffer.from("0123456789"));
    const block = RamFile.open(path, 2n);
    try {
      const bytes = Buffer.alloc(4);
      block.read(1n, bytes);
      expect(bytes.toString()).toBe("3456");
      expect(() => block.read(6n, bytes)).toThrow(RamFileError);
      expect(() => block.write(5n, Buffer.from("xxxx"))).toThrow("ends before offset 0x9");
      block.write(4n, Buffer.from("xxxx"));
      expect((await stat(path)).size).toBe(10);
    } finally {
      block.close();
      block.close();
    }
  });

  it("refuses what is no file", () => {
    expect(() => RamFile.open("/dev/null", 0n)).toThrow('"/dev/null" is not a file');
  });
});

it("keeps nothing of the looks before: a service looks for months", async () => {
  const { qmp } = await guestWith("file");
  let found = await lookForDirectRam(qmp);
  const before = new WeakRef(found);
  found = await lookForDirectRam(qmp, { known: found });
  cleanUps.push(async () => found.close());
  // What is referred to weakly lives until the turn of the event loop ends in which that was made.
  await delay(10);
  collectGarbage();
  expect(before.deref()).toBeUndefined();
});
