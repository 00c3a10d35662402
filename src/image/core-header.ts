/** Reads a core header out of memory and proves that it is one. */
import { decodeCoreHeader, programHeaderCount } from "../elfcore/decode.ts";
import { CoreHeaderError } from "../elfcore/error.ts";
import { type CoreHeader, coreHeaderSize, EHDR_SIZE } from "../elfcore/header.ts";
import { cpuNotes, vmcoreinfoNote } from "../elfcore/kinds.ts";
import { describedMemory } from "../layout/described.ts";
import type { RangeSet } from "../layout/range-set.ts";
import { textUntilNul, u32 } from "./bytes.ts";
import { hex } from "../elfcore/hex.ts";
import type { PhysicalMemory } from "./memory.ts";
import { readVmcoreInfo, type VmcoreInfo, VMCOREINFO_NOTE_SIZE } from "./vmcoreinfo.ts";

/** A CPU's note is 368 bytes (`note_buf_t`, x86-64); kexec-tools assumes 1024 where sysfs does not say. */
const MAX_CPU_NOTE = 4096n;
/** CPU notes whose content is read; the others are only checked to lie in RAM. */
const CPU_NOTES_READ = 16;

/** A core header whose notes lead where a core header's notes lead. */
export interface ProvenHeader {
  readonly address: bigint;
  readonly header: CoreHeader;
  readonly vmcoreinfo: VmcoreInfo;
  /** The first CPU note that holds registers: the kernel that the header belongs to has panicked since. */
  readonly usedCpuNote: bigint | undefined;
}

/** What was found wrong, in words that complete "it is not a core header: …". */
export interface DisprovenHeader {
  readonly address: bigint;
  readonly reason: string;
}

/**
 * The core header at physical `address`.
 *
 * @throws {CoreHeaderError} where the bytes there are none.
 */
export async function readCoreHeader(memory: PhysicalMemory, address: bigint): Promise<CoreHeader> {
  const count = programHeaderCount(await memory.read(address, EHDR_SIZE));
  return decodeCoreHeader(await memory.read(address, coreHeaderSize(count)));
}

/**
 * Proves the core header at `address`: it lies in RAM, it decodes, its last note is a VMCOREINFO note, its CPU notes lie in RAM
 * and hold what the kernel writes there, and it lies outside of what it describes.
 *
 * The last rule tells the header in crash memory from its copies (the kernel keeps one for kexec_file_load,
 * kexec-tools has one in user memory): those lie in memory that the header describes, crash memory never does.
 *
 * @param ram what `memory.ranges()` says, which the caller asks once for many proofs.
 */
export async function proveCoreHeader(
  memory: PhysicalMemory,
  ram: RangeSet,
  address: bigint,
): Promise<ProvenHeader | DisprovenHeader> {
  const no = (reason: string): DisprovenHeader => ({ address, reason });
  if (!ram.covers(span(address, BigInt(EHDR_SIZE)))) return no("it is not in RAM");
  let header: CoreHeader;
  try {
    const count = programHeaderCount(await memory.read(address, EHDR_SIZE));
    const size = coreHeaderSize(count);
    if (!ram.covers(span(address, BigInt(size)))) return no(`its ${count} program headers reach beyond RAM`);
    header = decodeCoreHeader(await memory.read(address, size));
  } catch (error) {
    if (error instanceof CoreHeaderError) return no(error.message);
    throw error;
  }
  if (describedMemory(header).contains(address)) {
    return no(`it lies at ${hex(address)}, in memory that it describes itself: a copy`);
  }
  const note = vmcoreinfoNote(header);
  if (!note || note.p_memsz < 24n || !ram.covers(span(note.p_paddr, BigInt(VMCOREINFO_NOTE_SIZE)))) {
    return no("its last PT_NOTE does not lead to RAM, a VMCOREINFO note should be there");
  }
  const vmcoreinfo = await readVmcoreInfo(memory, note.p_paddr);
  if (!vmcoreinfo)
    return no(`there is no VMCOREINFO note at ${hex(note.p_paddr)}, where its last PT_NOTE leads`);
  let usedCpuNote: bigint | undefined;
  for (const [cpu, { p_paddr, p_memsz }] of cpuNotes(header).entries()) {
    if (p_memsz === 0n || p_memsz > MAX_CPU_NOTE || !ram.covers(span(p_paddr, p_memsz))) {
      return no(`the note of its CPU entry ${cpu} (${p_memsz} bytes at ${hex(p_paddr)}) is not in RAM`);
    }
    if (cpu >= CPU_NOTES_READ) continue;
    const registers = await memory.read(p_paddr, Number(p_memsz));
    if (!isCpuNote(registers))
      return no(`there is no CPU note at ${hex(p_paddr)}, where its CPU entry ${cpu} leads`);
    if (u32(registers, 0) !== 0) usedCpuNote ??= p_paddr;
  }
  return { address, header, vmcoreinfo, usedCpuNote };
}

/** Narrows the answer of {@link proveCoreHeader}. */
export function isProven(header: ProvenHeader | DisprovenHeader): header is ProvenHeader {
  return "header" in header;
}

/** Zeros before a panic, a note named "CORE" after one (crash_save_cpu, kernel/crash_core.c). */
export function isCpuNote(bytes: Uint8Array): boolean {
  if (u32(bytes, 0) === 0) return bytes.every((byte) => byte === 0);
  return u32(bytes, 0) === 5 && textUntilNul(bytes.subarray(12, 17)) === "CORE";
}

function span(start: bigint, size: bigint): { readonly start: bigint; readonly end: bigint } {
  return { start, end: start + size };
}
