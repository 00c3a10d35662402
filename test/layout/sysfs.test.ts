import { describe, expect, test } from "vitest";
import { LayoutError } from "../../src/layout/error.ts";
import { parseCpuList, readCpus, readMemoryBlocks, type ReadTree } from "../../src/layout/sysfs.ts";

type Files = Readonly<Record<string, string>>;

/** A tree of the given files. */
function treeOf(files: Files): ReadTree {
  return {
    readText: (path) => Promise.resolve(files[path]),
    list: (path) => {
      const inside = Object.keys(files).filter((name) => name.startsWith(`${path}/`));
      return Promise.resolve([
        ...new Set(inside.map((name) => name.slice(path.length + 1).split("/")[0] ?? "")),
      ]);
    },
  };
}

const MEMORY = "/sys/devices/system/memory";
const CPU = "/sys/devices/system/cpu";

const memory: Files = {
  [`${MEMORY}/block_size_bytes`]: "8000000\n",
  [`${MEMORY}/auto_online_blocks`]: "online\n",
  [`${MEMORY}/crash_hotplug`]: "1\n",
  [`${MEMORY}/memory32/state`]: "going-offline\n",
  [`${MEMORY}/memory0/state`]: "online\n",
  [`${MEMORY}/memory9/state`]: "offline\n",
  [`${MEMORY}/power/control`]: "auto\n",
};

const cpus: Files = {
  [`${CPU}/possible`]: "0-7\n",
  [`${CPU}/present`]: "0-1,4\n",
  [`${CPU}/online`]: "0,4\n",
  [`${CPU}/cpu0/crash_notes`]: "277c38600\n",
  [`${CPU}/cpu0/crash_notes_size`]: "368\n",
  [`${CPU}/cpu4/crash_notes`]: "277d38600\n",
  [`${CPU}/cpu4/crash_notes_size`]: "368\n",
};

describe("readMemoryBlocks", () => {
  test("gives blocks by address, with their state", async () => {
    const size = 0x800_0000n;
    expect(await readMemoryBlocks(treeOf(memory))).toEqual({
      blockSize: size,
      blocks: [
        { index: 0, range: { start: 0n, end: size }, state: "online" },
        { index: 9, range: { start: 9n * size, end: 10n * size }, state: "offline" },
        { index: 32, range: { start: 32n * size, end: 33n * size }, state: "going-offline" },
      ],
      autoOnlineBlocks: "online",
      crashHotplug: true,
    });
  });

  test("reads no block's file where states are not asked for", async () => {
    const tree = treeOf(memory);
    const read: string[] = [];
    const watched: ReadTree = {
      readText: (path) => (read.push(path), tree.readText(path)),
      list: (path) => tree.list(path),
    };
    const { blocks } = await readMemoryBlocks(watched, { states: false });
    expect(blocks.map(({ index, state }) => [index, state])).toEqual([
      [0, undefined],
      [9, undefined],
      [32, undefined],
    ]);
    expect(read.filter((path) => /memory\d/.test(path))).toEqual([]);
  });

  test("says unknown for what older kernels do not have", async () => {
    const found = await readMemoryBlocks(treeOf({ [`${MEMORY}/block_size_bytes`]: "8000000" }));
    expect(found).toEqual({
      blockSize: 0x800_0000n,
      blocks: [],
      autoOnlineBlocks: undefined,
      crashHotplug: undefined,
    });
  });

  test("leaves out a block that went away between listing and reading", async () => {
    const tree = treeOf(memory);
    const racing: ReadTree = {
      readText: (path) => (path.includes("memory9") ? Promise.resolve(undefined) : tree.readText(path)),
      list: (path) => tree.list(path),
    };
    expect((await readMemoryBlocks(racing)).blocks.map(({ index }) => index)).toEqual([0, 32]);
  });

  test("reads thousands of blocks with few files open at once", async () => {
    let open = 0;
    let most = 0;
    const tree: ReadTree = {
      readText: async (path) => {
        most = Math.max(most, ++open);
        await Promise.resolve();
        open--;
        return path.endsWith("state") ? "online" : memory[path];
      },
      list: () => Promise.resolve(Array.from({ length: 4096 }, (_, index) => `memory${index}`)),
    };
    expect((await readMemoryBlocks(tree)).blocks).toHaveLength(4096);
    expect(most).toBeLessThanOrEqual(64);
  });

  test.each([
    [`${MEMORY}/block_size_bytes`, "0"],
    [`${MEMORY}/block_size_bytes`, "0x8000000"],
    [`${MEMORY}/block_size_bytes`, ""],
    [`${MEMORY}/crash_hotplug`, "2"],
    [`${MEMORY}/memory9/state`, "melting"],
    [`${MEMORY}/memory999999999999999/state`, "online"],
  ])("names the file that makes no sense: %s = %j", async (path, text) => {
    const reading = readMemoryBlocks(treeOf({ ...memory, [path]: text }));
    await expect(reading).rejects.toThrow(LayoutError);
    await expect(reading).rejects.toThrow(path);
  });

  test("names the file that is missing where the kernel has no memory hot-plug", async () => {
    await expect(readMemoryBlocks(treeOf({}))).rejects.toThrow(
      `Cannot read the layout: ${MEMORY}/block_size_bytes is missing or cannot be read`,
    );
  });
});

describe("readCpus", () => {
  test("gives the lists and the notes of each present CPU whose files can be read", async () => {
    expect(await readCpus(treeOf(cpus))).toEqual({
      possible: [0, 1, 2, 3, 4, 5, 6, 7],
      present: [0, 1, 4],
      online: [0, 4],
      crashNotes: new Map([
        [0, { address: 0x2_77c3_8600n, size: 368n }],
        [4, { address: 0x2_77d3_8600n, size: 368n }],
      ]),
      crashHotplug: undefined,
    });
  });

  test("reads crash_hotplug", async () => {
    const found = await readCpus(treeOf({ ...cpus, [`${CPU}/crash_hotplug`]: "0\n" }));
    expect(found.crashHotplug).toBe(false);
  });

  test.each([
    [`${CPU}/present`, "0-"],
    [`${CPU}/cpu0/crash_notes`, "-1"],
    [`${CPU}/cpu0/crash_notes_size`, "0x170"],
  ])("names the file that makes no sense: %s = %j", async (path, text) => {
    await expect(readCpus(treeOf({ ...cpus, [path]: text }))).rejects.toThrow(path);
  });
});

describe("parseCpuList", () => {
  test.each([
    ["0-3,5\n", [0, 1, 2, 3, 5]],
    ["0", [0]],
    ["\n", []],
    ["7,0-1,1", [0, 1, 7]],
  ])("%j is %j", (text, expected) => {
    expect(parseCpuList(text)).toEqual(expected);
  });

  test.each(["a", "3-1", "1,,2", "-1", "0-3-5", "0x1", "1.5", "0-4294967295", "65536"])(
    "refuses %j",
    (text) => {
      expect(() => parseCpuList(text)).toThrow(LayoutError);
    },
  );
});
