/** What programs in the machine see, through the readers that read a real machine's files. */
import { describe, expect, test } from "vitest";
import { crashKernel, kernelImage, parseIomem, systemRam } from "../../src/layout/iomem.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { readCpus, readMemoryBlocks } from "../../src/layout/sysfs.ts";
import type { SimulatedMachine } from "../../src/simulation/machine.ts";
import { BLOCK, machineOf, places } from "./sim.ts";

async function iomem(machine: SimulatedMachine): Promise<ReturnType<typeof parseIomem>> {
  return parseIomem((await machine.files.readText("/proc/iomem"))!);
}

test("/proc/iomem shows RAM, the kernel and crash memory", async () => {
  const machine = machineOf("6.1");
  const entries = await iomem(machine);
  const { crashkRes, kernel, systemRam: ram } = machine.blueprint;
  expect(systemRam(entries).equals(RangeSet.of(ram))).toBe(true);
  expect(crashKernel(entries).ranges).toEqual([crashkRes]);
  expect(kernelImage(entries)).toEqual({ start: kernel.paddr, end: kernel.paddr + kernel.size });
});

test("a DIMM is System RAM and has blocks from the moment in which the kernel adds it, online or not", async () => {
  const machine = machineOf("6.1,manual-online");
  const blocksOf = async (): Promise<readonly (string | undefined)[]> =>
    (await readMemoryBlocks(machine.files)).blocks
      .filter(({ range }) => range.start >= places(0).start)
      .map(({ state }) => state);
  machine.pause();
  const id = machine.plugDimm(2n * BLOCK);
  expect(machine.memory.ram.covers(places(0, 2))).toBe(true);
  expect(systemRam(await iomem(machine)).overlaps(places(0, 2))).toBe(false);
  machine.resume();
  expect(systemRam(await iomem(machine)).covers(places(0, 2))).toBe(true);
  expect(await blocksOf()).toEqual(["offline", "offline"]);
  machine.online(id);
  expect(await blocksOf()).toEqual(["online", "online"]);
  machine.unplug(id);
  expect(await blocksOf()).toEqual([]);
  expect(systemRam(await iomem(machine)).overlaps(places(0, 2))).toBe(false);
  expect(machine.memory.ram.overlaps(places(0, 2))).toBe(false);
});

test("a block has a directory with its state, and one that is not there has neither", async () => {
  const { files } = machineOf("6.1,manual-online,dimm=256M");
  const blocks = (await files.list("/sys/devices/system/memory")).filter((name) => /^memory\d/.test(name));
  expect(blocks).toHaveLength(4);
  for (const name of [...blocks, "memory3", "memory99999"]) {
    const directory = `/sys/devices/system/memory/${name}`;
    const isThere = blocks.includes(name);
    expect(await files.list(directory)).toEqual(isThere ? ["state"] : []);
    const text = await files.readText(`${directory}/state`);
    expect(["online\n", "offline\n"].includes(text ?? "")).toBe(isThere);
  }
});

test("memory blocks have 128 MiB, and boot RAM's are online", async () => {
  const { blockSize, blocks, autoOnlineBlocks } = await readMemoryBlocks(machineOf("6.1").files);
  expect({ blockSize, autoOnlineBlocks }).toEqual({ blockSize: BLOCK, autoOnlineBlocks: "online" });
  expect(blocks.map(({ index, state }) => [index, state])).toEqual([
    [0, "online"],
    [1, "online"],
  ]);
});

test("CPUs have their notes 0x40000 apart, and a hot-added one has its own", async () => {
  const machine = machineOf("6.1,cpus=2,possible=4");
  machine.addCpu();
  const { possible, present, online, crashNotes } = await readCpus(machine.files);
  expect({ possible, present, online }).toEqual({
    possible: [0, 1, 2, 3],
    present: [0, 1, 2],
    online: [0, 1, 2],
  });
  const { base } = machine.blueprint.crashNotes;
  expect([...crashNotes.values()]).toEqual(
    [0n, 1n, 2n].map((cpu) => ({ address: base + cpu * 0x4_0000n, size: 368n })),
  );
});

describe("crash_hotplug", () => {
  test.each([
    ["6.1", undefined],
    ["6.12", true],
    ["6.12,noload", false],
    ["6.12,load=kexec_load", false],
  ])("of %s is %s", async (text, expected) => {
    const { files } = machineOf(text);
    expect((await readMemoryBlocks(files)).crashHotplug).toBe(expected);
    expect((await readCpus(files)).crashHotplug).toBe(expected);
  });
});

test("kexec's own files tell whether an image is loaded, and how large crash memory is", async () => {
  const machine = machineOf("6.12");
  const read = (name: string): Promise<string | undefined> => machine.files.readText(`/sys/kernel/${name}`);
  expect(await read("kexec_crash_loaded")).toBe("1\n");
  machine.unload();
  expect(await read("kexec_crash_loaded")).toBe("0\n");
  expect(await read("kexec_crash_size")).toBe(`${16 << 20}\n`);
  expect(await read("crash_elfcorehdr_size")).toBe("462448\n");
  expect(await read("nothing")).toBeUndefined();
  expect(await machine.files.list("/sys/nothing")).toEqual([]);
});
