/** The registers of CPUs in a dump: the NT_PRSTATUS notes of /proc/vmcore, read in the capture kernel. */
import { PT_NOTE } from "../elfcore/header.ts";
import { u32, u64 } from "../image/bytes.ts";
import type { AgentChannel } from "./channel.ts";
import { readVmcore } from "./evidence.ts";

/** One NT_PRSTATUS of the dump. */
export interface DumpedCpu {
  /** The process that ran on the CPU. */
  readonly pid: number;
  readonly rip: bigint;
}

const PAGE = 4096;
const NT_PRSTATUS = 1;
/** `struct elf_prstatus` of x86-64: `pr_pid`, and `rip` in `pr_reg` (include/linux/elfcore.h, asm/user_64.h). */
const PR_PID = 32;
const RIP = 112 + 16 * 8;

/** The CPUs in the dump, in the order of its notes; undefined where there is no dump. */
export async function readDumpedCpus(capture: AgentChannel): Promise<readonly DumpedCpu[] | undefined> {
  const vmcore = await readVmcore(capture);
  if (!vmcore) return undefined;
  const note = vmcore.header.programHeaders.find(({ p_type }) => p_type === PT_NOTE)!;
  const first = Number(note.p_offset) / PAGE;
  const pages = Math.ceil(Number(note.p_filesz) / PAGE);
  const { status, output } = await capture.run(
    `dd if=/proc/vmcore bs=${PAGE} skip=${first} count=${pages} 2>/dev/null`,
  );
  if (status !== 0 || output.length < Number(note.p_filesz))
    throw new Error(`/proc/vmcore gave ${output.length} bytes of its notes`);
  return prstatusNotes(output.subarray(0, Number(note.p_filesz)));
}

function prstatusNotes(bytes: Uint8Array): readonly DumpedCpu[] {
  const cpus: DumpedCpu[] = [];
  for (let at = 0; at + 12 <= bytes.length && u32(bytes, at) !== 0;) {
    const desc = at + 12 + align4(u32(bytes, at));
    const name = Buffer.from(bytes).toString("latin1", at + 12, at + 16);
    if (u32(bytes, at + 8) === NT_PRSTATUS && name === "CORE")
      cpus.push({ pid: u32(bytes, desc + PR_PID), rip: u64(bytes, desc + RIP) });
    at = desc + align4(u32(bytes, at + 4));
  }
  return cpus;
}

function align4(size: number): number {
  return Math.ceil(size / 4) * 4;
}
