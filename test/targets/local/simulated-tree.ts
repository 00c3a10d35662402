/** A simulated machine's /proc and /sys as a copied tree, with a kcore and kallsyms that its own views do not have. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { VMCOREINFO_NOTE_SIZE } from "../../../src/image/vmcoreinfo.ts";
import { u32 } from "../../../src/image/bytes.ts";
import { RangeSet } from "../../../src/layout/range-set.ts";
import { BLOCK_SIZE, blockCount } from "../../../src/simulation/dimms.ts";
import { KERNEL_DATA } from "../../../src/simulation/blueprint.ts";
import type { SimulatedMachine } from "../../../src/simulation/machine.ts";
import { systemRam, usableRam } from "../../../src/simulation/system.ts";
import { note, writeKcore } from "./kcore-file.ts";

/** A directory that is removed with what is in it. */
export class TempTree implements AsyncDisposable {
  readonly root: string;

  private constructor(root: string) {
    this.root = root;
  }

  static async make(): Promise<TempTree> {
    return new TempTree(await mkdtemp(join(tmpdir(), "kdh-local-")));
  }

  /** Writes a file; its directories are made. */
  async write(path: string, content: string | Uint8Array): Promise<void> {
    await mkdir(dirname(join(this.root, path)), { recursive: true });
    await writeFile(join(this.root, path), content);
  }

  async remove(path: string): Promise<void> {
    await rm(join(this.root, path), { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.root, { recursive: true, force: true });
  }
}

/** Writes everything as it is at this moment; what was there before goes. */
export async function copyMachine(machine: SimulatedMachine, tree: TempTree): Promise<void> {
  await tree.remove("sys");
  for (const top of ["/proc", "/sys"]) await copyFiles(machine, tree, top);
  await tree.write("/proc/sys/kernel/kexec_load_disabled", "0\n");
  await tree.write("/sys/kernel/kexec_loaded", "0\n");
  await tree.write("/sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
  await tree.write("/proc/kallsyms", kallsyms(machine));
  const { levels, gibPages } = machine.blueprint.paging;
  const flags = ["fpu", ...(levels === 5 ? ["la57"] : []), ...(gibPages ? ["pdpe1gb"] : [])];
  await tree.write("/proc/cpuinfo", `processor\t: 0\nflags\t\t: ${flags.join(" ")}\n\nprocessor\t: 1\n`);
  await tree.write(
    "/proc/meminfo",
    `MemTotal:       ${(usableRam(machine.system) - offlineBytes(machine)) / 1024n} kB\nMemFree: 1 kB\n`,
  );
  await tree.write("/proc/self/status", "Name:\tnode\nCapEff:\t000001ffffffffff\n");
  copyMemory(machine, tree);
}

/** Only kcore, at once: for who changes memory in the middle of a call. */
export function copyMemory(machine: SimulatedMachine, tree: TempTree): void {
  writeKcore(join(tree.root, "proc/kcore"), {
    ram: systemRam(machine.system),
    written: machine.memory.written.intersect(RangeSet.of(systemRam(machine.system))).ranges,
    read: ({ start, end }) => machine.memory.peek(start, Number(end - start)),
    notes: kcoreNotes(machine),
  });
}

/** Of DIMMs whose blocks are there and not in use. */
function offlineBytes({ system }: SimulatedMachine): bigint {
  return system.dimms
    .filter((dimm) => dimm.added)
    .reduce((sum, dimm) => sum + BigInt(blockCount(dimm) - dimm.online.size) * BLOCK_SIZE, 0n);
}

async function copyFiles(machine: SimulatedMachine, tree: TempTree, path: string): Promise<void> {
  const text = await machine.files.readText(path);
  if (text !== undefined) return await tree.write(path, text);
  for (const name of await machine.files.list(path)) await copyFiles(machine, tree, `${path}/${name}`);
}

/** The symbols that the simulated kernel has, among others. */
export function kallsyms({ blueprint }: SimulatedMachine): string {
  const line = (offset: bigint, type: string, name: string): string =>
    `${(blueprint.kernel.vaddr + offset).toString(16)} ${type} ${name}\n`;
  return [
    "0000000000000000 A fixed_percpu_data\n",
    line(0n, "T", "_stext"),
    line(0x100n, "t", "not_kexec_crash_image"),
    line(KERNEL_DATA.imagePointer, "B", "kexec_crash_image"),
    line(KERNEL_DATA.crashNotes, "B", "crash_notes"),
    line(KERNEL_DATA.perCpuOffset, "R", "__per_cpu_offset"),
    line(KERNEL_DATA.nrPfnMapped, "D", "nr_pfn_mapped"),
    line(KERNEL_DATA.pfnMapped, "B", "pfn_mapped"),
    "ffffffffc0000000 t crash_notes\t[some_module]\n",
  ].join("");
}

function kcoreNotes({ memory, blueprint }: SimulatedMachine): Uint8Array {
  const own = memory.peek(blueprint.vmcoreinfo, VMCOREINFO_NOTE_SIZE);
  const text = own.subarray(24, 24 + u32(own, 4));
  return Buffer.concat([note("CORE", new Uint8Array(336)), note("VMCOREINFO", text)]);
}
