/** The simulated kernel's header, byte for byte what the real kernels' own functions made of the same machine. */
import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { decodeCoreHeader } from "../../src/elfcore/decode.ts";
import { inclusiveRange } from "../../src/layout/range.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import type { Blueprint } from "../../src/simulation/blueprint.ts";
import { KERNELS } from "../../src/simulation/kernels.ts";
import { SimulatedMachine } from "../../src/simulation/machine.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";

const GIB = 1n << 30n;

/** The machine behind test/elfcore/golden: possible CPUs 0-3, present 0-1, 34 GiB, crash memory at 0x69000000. */
const blueprint: Blueprint = {
  backedRam: RangeSet.of([
    { start: 0n, end: 2n * GIB },
    { start: 4n * GIB, end: 34n * GIB },
  ]),
  systemRam: [
    inclusiveRange(0x1000n, 0x9_fbffn),
    inclusiveRange(0x10_0000n, 0x7ffd_9fffn),
    inclusiveRange(0x1_0000_0000n, 0x8_7fff_ffffn),
  ],
  crashkRes: inclusiveRange(0x6900_0000n, 0x78ff_ffffn),
  crashkLowRes: undefined,
  kernel: { paddr: 0x1_1c00_0000n, vaddr: 0xffff_ffff_9c00_0000n, size: 0x342_d000n },
  pageOffset: 0xffff_9e3a_0000_0000n,
  vmcoreinfo: 0x1_052f_0000n,
  crashNotes: { base: 0x2_3fc3_8600n, stride: 0x8_0000n },
  heap: 0x1_0600_0000n,
  hotBase: 34n * GIB,
  paging: { levels: 4, gibPages: true },
};

function boot(kernel: string): SimulatedMachine {
  return new SimulatedMachine({
    blueprint,
    kernel: KERNELS.find(({ name }) => name === kernel)!,
    sha256: nodeSha256,
    cpus: { present: 2, possible: 4 },
    slots: 256,
    autoOnline: true,
  });
}

async function golden(name: string): Promise<Uint8Array> {
  return new Uint8Array(await readFile(new URL(`../elfcore/golden/${name}`, import.meta.url)));
}

describe.each([
  ["5.10", "kernel-5.10"],
  ["6.1", "kernel-5.10"],
  ["6.12", "kernel-6.6"],
])("kexec_file_load on %s", (kernel, files) => {
  test("leaves the golden header in crash memory", async () => {
    const machine = boot(kernel);
    const { header } = machine.load();
    expect(machine.memory.peek(header.start, 4096)).toEqual(await golden(`${files}-base.bin`));
    expect(header.start).toBe(0x6900_0000n);
  });

  test("leaves the golden header with two DIMMs, each a load of its own", async () => {
    const machine = boot(kernel);
    machine.plugDimm(GIB);
    machine.plugDimm(GIB);
    const { header } = machine.load();
    expect(machine.memory.peek(header.start, 4096)).toEqual(await golden(`${files}-plus-2-dimms.bin`));
  });
});

test("6.12's own handler makes the golden header of a base image and two DIMMs", async () => {
  const machine = boot("6.12");
  const { header } = machine.load();
  machine.plugDimm(GIB);
  machine.plugDimm(GIB);
  expect(machine.memory.peek(header.start, 4096)).toEqual(await golden("kernel-6.6-plus-2-dimms.bin"));
});

test("kexec_load leaves kexec-tools' golden header, with its own place for the backup", async () => {
  const machine = boot("6.1");
  const { header } = machine.load({ call: "kexec_load" });
  const found = decodeCoreHeader(machine.memory.peek(header.start, 1024));
  // The vector's inputs split RAM at the crash memory as well, and name 0x78f60000 for the backup.
  const wanted = decodeCoreHeader(await golden("kexec-tools-base.bin"));
  const backup = found.programHeaders.find(({ p_paddr }) => p_paddr === 0x1000n)!;
  expect(backup.p_offset).toBe(0x78f6_1000n);
  expect({
    ...found,
    programHeaders: found.programHeaders.map((each) =>
      each === backup ? { ...each, p_offset: 0x78f6_0000n } : each,
    ),
  }).toEqual(wanted);
});
