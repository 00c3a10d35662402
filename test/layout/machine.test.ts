/** One layout, from outside and from inside of the same (simulated) machine. */
import { expect, test } from "vitest";
import { compareWithLayout } from "../../src/layout/described.ts";
import { parseIomem } from "../../src/layout/iomem.ts";
import { machineLayoutFromSysfs, type MachineLayout, memoryToDescribe } from "../../src/layout/machine.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { readCpus, readMemoryBlocks, readVmcoreinfoNote } from "../../src/layout/sysfs.ts";
import { locateImage } from "../../src/image/locate.ts";
import type { SimulatedMachine } from "../../src/simulation/machine.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { SimulatedTarget } from "../../src/targets/simulated/machine.ts";
import { BLOCK, machineOf, places } from "../simulation/sim.ts";

async function seenFromInside({ files }: SimulatedMachine): Promise<MachineLayout> {
  return machineLayoutFromSysfs({
    iomem: parseIomem((await files.readText("/proc/iomem"))!),
    memory: await readMemoryBlocks(files),
    cpus: await readCpus(files),
    vmcoreinfoNote: await readVmcoreinfoNote(files),
  });
}

test("a layout from inside has RAM, crash memory, the kernel, and both kinds of notes", async () => {
  const machine = machineOf("6.1,cpus=2,possible=4");
  const { blueprint } = machine;
  const { backed, devices, cpus, canGrow, inside } = await seenFromInside(machine);
  expect(inside).toEqual({
    online: RangeSet.of(blueprint.systemRam),
    crashMemory: RangeSet.of([blueprint.crashkRes!]),
    kernelText: {
      start: blueprint.kernel.paddr,
      end: blueprint.kernel.paddr + blueprint.kernel.size,
    },
    cpuNotes: new Map(
      [0, 1].map((cpu) => [
        cpu,
        { address: blueprint.crashNotes.base + BigInt(cpu) * 0x4_0000n, size: 368n },
      ]),
    ),
    vmcoreinfoNote: { address: blueprint.vmcoreinfo, size: 4132n },
  });
  expect(inside!.online.subtract(backed).isEmpty).toBe(true);
  expect(cpus.map(({ present }) => present)).toEqual([true, true, false, false]);
  // What a hypervisor knows and a kernel does not.
  expect({ devices, canGrow }).toEqual({ devices: [], canGrow: undefined });
});

test("memory that is offline is backed, and need not be described", async () => {
  const machine = machineOf("6.1,manual-online");
  const id = machine.plugDimm(2n * BLOCK);
  const offline = await seenFromInside(machine);
  expect(offline.backed.covers(places(0, 2))).toBe(true);
  expect(memoryToDescribe(offline).overlaps(places(0, 2))).toBe(false);
  machine.online(id);
  expect(memoryToDescribe(await seenFromInside(machine)).covers(places(0, 2))).toBe(true);
  machine.unplug(id);
  expect((await seenFromInside(machine)).backed.overlaps(places(0, 2))).toBe(false);
});

test("both sides of a machine come to the same about a header", async () => {
  const machine = machineOf("6.1,load=kexec_load");
  const outside = new SimulatedTarget("sim", machine);
  const location = await locateImage(machine.memory, nodeSha256);
  if (location.found !== "image") throw new Error(location.found);
  const { header } = location.image;
  const compare = async (): Promise<readonly (readonly string[])[]> => {
    const layouts = [await outside.layout(), await seenFromInside(machine)];
    return layouts.map((layout) => {
      const { missing, stale } = compareWithLayout(header, layout);
      return [missing.toString(), stale.toString()];
    });
  };
  const [fromOutside, fromInside] = await compare();
  expect(fromInside).toEqual(fromOutside);
  machine.plugDimm(BLOCK);
  const [after, seen] = await compare();
  expect(after![0]).toContain(places(0).start.toString(16));
  expect(seen).toEqual(after);
});

test("a kernel without the files says less, and no more is believed", async () => {
  const layout = machineLayoutFromSysfs({
    iomem: parseIomem("00100000-0fffffff : System RAM\n"),
    memory: undefined,
    cpus: {
      possible: [0],
      present: [0],
      online: [0],
      crashNotes: new Map(),
      crashHotplug: undefined,
    },
    vmcoreinfoNote: undefined,
  });
  expect(layout).toMatchObject({ canGrow: false, inside: { kernelText: undefined } });
  expect(layout.inside!.vmcoreinfoNote).toBeUndefined();
  const tree = { readText: async () => undefined, list: async () => [] };
  expect(await readVmcoreinfoNote(tree)).toBeUndefined();
  // As Linux 6.1 has it.
  const real = { readText: async () => "0x0000000003b40000 1024\n", list: async () => [] };
  expect(await readVmcoreinfoNote(real)).toEqual({ address: 0x3b4_0000n, size: 4132n });
  for (const text of ["", "0x0x1 1024\n", "12345 1024 7\n", "x 1024\n", "12345\n"]) {
    const odd = { readText: async () => text, list: async () => [] };
    await expect(readVmcoreinfoNote(odd)).rejects.toThrow("/sys/kernel/vmcoreinfo");
  }
});
