import { mkdir, mkdtemp, open, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { encodeCoreHeader } from "../../src/elfcore/encode.ts";
import { CoreHeaderError } from "../../src/elfcore/error.ts";
import { type CoreHeader, PT_LOAD } from "../../src/elfcore/header.ts";
import { Keeper } from "../../src/keeper/keeper.ts";
import { HeaderFileError, readHeaderFile } from "../../src/targets/file.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { FakeTarget, slots } from "../keeper/fake-target.ts";
import { CRASH } from "../image/fake-machine.ts";
import { sample, sampleBytes } from "../elfcore/samples.ts";

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdh-test-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

let files = 0;
async function file(content: string | Uint8Array): Promise<string> {
  const path = join(directory, `file-${++files}`);
  await writeFile(path, content);
  return path;
}

const PAGE = 4096;
/** Larger than any core header. */
const COPY_SIZE = 4 * 1024 * 1024;

/** A copy of crash memory from `base`: the header at page `headerPage`, and a command line that names it. */
function crashMemory(base: bigint, headerPage: number, commandLine?: string): Uint8Array {
  const bytes = new Uint8Array(COPY_SIZE);
  bytes.set(encodeCoreHeader(sample), headerPage * PAGE);
  const address = base + BigInt(headerPage * PAGE);
  const text = commandLine ?? `console=ttyS0 elfcorehdr=0x${address.toString(16)} panic=5`;
  bytes.set(new TextEncoder().encode(text), COPY_SIZE - 2 * PAGE);
  return bytes;
}

/** What /proc/vmcore begins with: offsets in that file instead of addresses. */
function asVmcore(header: CoreHeader): CoreHeader {
  const programHeaders = header.programHeaders.map((ph) =>
    ph.p_type === PT_LOAD ? { ...ph, p_offset: ph.p_paddr + 0x3000n } : ph,
  );
  return { ...header, programHeaders };
}

describe("a file", () => {
  it("with a core header by itself is a core header", async () => {
    expect(await readHeaderFile(await file(encodeCoreHeader(sample)))).toEqual({
      kind: "core-header",
      header: sample,
    });
  });

  it("with a core header and what came behind it in its page is a core header", async () => {
    const page = new Uint8Array(PAGE);
    page.set(encodeCoreHeader(sample));
    expect((await readHeaderFile(await file(page))).header).toEqual(sample);
  });

  it("whose loads have offsets of their own is a vmcore", async () => {
    const header = asVmcore(sample);
    expect(await readHeaderFile(await file(encodeCoreHeader(header)))).toEqual({ kind: "vmcore", header });
  });

  it.each([
    ["at its start, as kexec_file_load puts it", 0],
    ["further behind, as kexec-tools puts it", 100],
  ])("with a header %s is a copy of crash memory", async (_where, page) => {
    const base = 0x2f00_0000n;
    const read = await readHeaderFile(await file(crashMemory(base, page)));
    expect(read).toMatchObject({
      kind: "crash-memory",
      header: sample,
      headerAddress: base + BigInt(page * PAGE),
      digest: { state: "not-found" },
    });
    if (read.kind !== "crash-memory") return;
    expect(read.crashMemory.ranges).toEqual([{ start: base, end: base + BigInt(COPY_SIZE) }]);
    expect(read.commandLine.text).toMatch(/^console=ttyS0 elfcorehdr=0x[0-9a-f]+ panic=5$/);
  });

  it("of crash memory in which the header has moved is read where it is now", async () => {
    const target = new FakeTarget("file");
    for (let i = 0; i < 80; i++) target.add(slots(2 * i));
    const { before, after } = await new Keeper(target, nodeSha256).reconcile();
    const read = await readHeaderFile(
      await file(target.memory.peek(CRASH.start, Number(CRASH.end - CRASH.start))),
    );
    expect(after.image?.headerAddress).not.toBe(before.image?.headerAddress);
    expect(read).toMatchObject({
      kind: "crash-memory",
      header: after.image?.header,
      headerAddress: after.image?.headerAddress,
      digest: { state: "covers-header" },
    });
  });

  it.each([
    ["no command line", "quiet"],
    ["a command line that names an address below the file's size", "elfcorehdr=0x1000"],
  ])("with a header, but %s, is not taken for crash memory", async (_what, commandLine) => {
    const path = await file(crashMemory(0x2f00_0000n, 100, commandLine));
    await expect(readHeaderFile(path)).rejects.toThrow(HeaderFileError);
  });

  it.each([
    ["nothing", "", /has 0 bytes, a core header has at least 120/],
    ["a word", "hello\n", /has 6 bytes/],
    ["text", "hello\n".repeat(1000), /No core header was found in/],
    ["zeros", new Uint8Array(COPY_SIZE), /No core header was found in/],
  ])("with %s is refused in one sentence", async (_what, content, words) => {
    const error: unknown = await readHeaderFile(await file(content)).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(HeaderFileError);
    expect(String(error)).toMatch(words);
    expect(String(error)).not.toContain("\n");
  });

  it("with a bad header is refused for what is bad", async () => {
    // EI_CLASS at offset 4: 1 is ELF32.
    await expect(readHeaderFile(await file(sampleBytes({ 4: 1 })))).rejects.toThrow(CoreHeaderError);
  });

  it("with a truncated header is refused", async () => {
    const bytes = encodeCoreHeader(sample);
    const path = await file(bytes.subarray(0, bytes.length - 8));
    await expect(readHeaderFile(path)).rejects.toThrow(/file does not reach that far|program header/i);
  });
});

/** A file of `pages` pages that look like core headers, and as many command lines that name places for one. */
function hostile(pages: number, names: number): Uint8Array {
  const bytes = Buffer.alloc((pages + 2) * PAGE + names * 4096);
  for (let page = 1; page <= pages; page++) {
    bytes.writeUInt32LE(0x464c457f, page * PAGE);
    bytes.writeUInt32LE(0x003e0004, page * PAGE + 16);
  }
  for (let name = 0; name < names; name++) {
    const line = `${"x".repeat(2000)} elfcorehdr=0x${(0x4000_0000 + name * PAGE).toString(16)}`;
    bytes.write(line, (pages + 2) * PAGE + name * 4096, "latin1");
  }
  return bytes;
}

/** Reads of files while `act` runs: what a file may cost is counted, not timed. */
async function readsDuring(act: () => Promise<unknown>): Promise<{ reads: number; bytes: number }> {
  const probe = await open(await file("x"));
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- node:fs/promises does not export the class
  const prototype = Object.getPrototypeOf(probe) as typeof probe;
  await probe.close();
  const spy = vi.spyOn(prototype, "read");
  try {
    await act().catch(() => undefined);
    const lengths = spy.mock.calls.map((call: readonly unknown[]) => Number(call[2]));
    return { reads: lengths.length, bytes: lengths.reduce((sum, length) => sum + length, 0) };
  } finally {
    spy.mockRestore();
  }
}

describe("a hostile file", () => {
  it("costs reads of its size and a few more, however many headers and command lines it feigns", async () => {
    const path = await file(hostile(2000, 300));
    const { size } = await stat(path);
    const cost = await readsDuring(() => readHeaderFile(path));
    expect(cost.reads).toBeLessThan(2 * (64 + Math.ceil(size / (4 << 20))) + 8);
    expect(cost.bytes).toBeLessThan(3 * size);
    await expect(readHeaderFile(path)).rejects.toThrow(CoreHeaderError);
  });

  it("does not keep Ctrl-C out", async () => {
    const path = await file(hostile(100, 100));
    await expect(readHeaderFile(path, AbortSignal.abort(new Error("Interrupted")))).rejects.toThrow(
      "Interrupted",
    );
    const controller = new AbortController();
    const reading = readHeaderFile(path, controller.signal);
    setImmediate(() => controller.abort(new Error("Interrupted")));
    await expect(reading).rejects.toThrow("Interrupted");
  });
});

describe("what is no file", () => {
  it("is named for what it is", async () => {
    await mkdir(join(directory, "sub"));
    await expect(readHeaderFile(join(directory, "sub"))).rejects.toThrow(
      /is a directory: give a core header/,
    );
    await expect(readHeaderFile("/dev/zero")).rejects.toThrow(/is no regular file/);
    await expect(readHeaderFile(join(directory, "absent"))).rejects.toThrow(/^There is no file/);
    await expect(readHeaderFile(join(await file("x"), "below"))).rejects.toThrow(/^There is no file/);
  });
});
