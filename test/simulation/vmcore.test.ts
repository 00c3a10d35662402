/** The dump as a file: opened by binutils, and by this project's own reader. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { decodeCoreHeader } from "../../src/elfcore/decode.ts";
import type { Vmcore } from "../../src/simulation/vmcore.ts";
import { readHeaderFile } from "../../src/targets/file.ts";
import { BLOCK, dumpOf, machineOf, places } from "./sim.ts";

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdh-sim-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const hasReadelf = spawnSync("readelf", ["--version"]).status === 0;
if (!hasReadelf)
  process.stderr.write("vmcore.test.ts: no readelf (binutils), its view of the dump is not checked\n");

/** The dump as a sparse file: its head, and holes for memory. */
async function store(vmcore: Vmcore, name: string): Promise<string> {
  const path = join(directory, name);
  const file = await open(path, "w");
  try {
    await file.write(vmcore.head, 0, vmcore.head.length, 0);
    await file.truncate(Number(vmcore.size));
  } finally {
    await file.close();
  }
  return path;
}

describe.each(["kexec_file_load", "kexec_load"])("a dump of an image loaded by %s", (call) => {
  test.skipIf(!hasReadelf)("is a core file for readelf", async () => {
    const machine = machineOf(`6.1,load=${call}`);
    machine.plugDimm(BLOCK);
    machine.load({ call: machine.image!.call });
    const vmcore = dumpOf(machine.panic());
    const path = await store(vmcore, call);
    const { status, stdout, stderr } = spawnSync("readelf", ["-hlnW", path], { encoding: "utf8" });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(/Type: +CORE/);
    expect(stdout).toMatch(/Number of program headers: +\d+/);
    expect(stdout.match(/^ {2}NOTE /gm)).toHaveLength(1);
    expect(stdout.match(/^ {2}LOAD /gm)).toHaveLength(vmcore.loads.length);
    expect(stdout.match(/NT_PRSTATUS/g)).toHaveLength(2);
    expect(stdout).toContain("VMCOREINFO");
    expect(stdout).toContain(`0x${places(0).start.toString(16).padStart(16, "0")}`);
    expect(execFileSync("readelf", ["-h", path], { encoding: "utf8" })).toContain("X86-64");
  });

  test("is a vmcore for inspect", async () => {
    const path = await store(dumpOf(machineOf(`6.1,load=${call}`).panic()), `${call}-inspect`);
    const { kind, header } = await readHeaderFile(path);
    expect(kind).toBe("vmcore");
    expect(header.programHeaders[0]?.p_type).toBe(4);
  });

  test("gives the same bytes in one read and in many, up to its end", () => {
    const machine = machineOf(`6.1,load=${call}`);
    machine.memory.poke(0x1000n, Uint8Array.of(1, 2, 3));
    const vmcore = dumpOf(machine.panic());
    const whole = vmcore.read(0n, 0x30_0000);
    for (const [offset, length] of [
      [0, 64],
      [60, 5000],
      [vmcore.head.length - 3, 7],
      [0x2f_f000, 0x1000],
    ] as const) {
      expect(vmcore.read(BigInt(offset), length)).toEqual(whole.subarray(offset, offset + length));
    }
    expect(vmcore.read(vmcore.size - 3n, 10)).toHaveLength(3);
    expect(vmcore.read(vmcore.size + 3n, 10)).toHaveLength(0);
  });
});

test("a dump by kexec_load shows low memory as purgatory saved it", () => {
  const machine = machineOf("6.1,load=kexec_load");
  machine.memory.poke(0x2000n, Uint8Array.of(9, 8, 7));
  expect(dumpOf(machine.panic()).readPhysical(0x2000n, 3)).toEqual(Uint8Array.of(9, 8, 7));
});

test("file offsets lie behind one another, in the order of the core header", () => {
  const vmcore = dumpOf(machineOf("6.12").panic());
  const loads = decodeCoreHeader(vmcore.head).programHeaders.filter(({ p_type }) => p_type === 1);
  let next = BigInt(vmcore.head.length);
  for (const { p_offset, p_memsz } of loads) {
    expect(p_offset - (p_offset % 4096n)).toBe(next);
    next += ((p_offset % 4096n) + p_memsz + 4095n) & ~4095n;
  }
  expect(next).toBe(vmcore.size);
});

test("the one PT_NOTE has the notes of CPUs that ran, without what follows each, and VMCOREINFO", () => {
  // Of 8 possible CPUs 2 are present; the others' notes are empty and only read.
  const { head } = dumpOf(machineOf("6.12").panic());
  const [note] = decodeCoreHeader(head).programHeaders;
  const start = Number(note!.p_offset);
  const notes = new DataView(head.buffer, start, Number(note!.p_memsz));
  // Header 12, "CORE" 8, elf_prstatus 336: twice. Then VMCOREINFO: header 12, name 12, text.
  expect(notes.getUint32(0, true)).toBe(5);
  expect(notes.getUint32(356, true)).toBe(5);
  expect(notes.getUint32(712, true)).toBe(11);
  const text = Math.ceil(notes.getUint32(716, true) / 4) * 4;
  expect(notes.byteLength).toBe(712 + 24 + text);
});
