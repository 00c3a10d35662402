/** A core header from what it should describe, in the form that kernels and kexec-tools write. */
import { CoreHeaderError } from "./error.ts";
import { hex } from "./hex.ts";
import { ADDRESS_LIMIT, E_PHOFF_OFFSET, ELF_MAGIC, FIXED_FIELDS } from "./fields.ts";
import {
  type CoreHeader,
  coreHeaderSize,
  E_PHNUM_OFFSET,
  EHDR_SIZE,
  PF_RWX,
  PHDR_SIZE,
  PN_XNUM,
  type ProgramHeader,
  PT_LOAD,
  PT_NOTE,
} from "./header.ts";

/** Where a note lies in memory: physical address and size in bytes. */
export interface NoteLocation {
  readonly paddr: bigint;
  readonly size: bigint;
}

/** The kernel's image: physical and virtual address, size in bytes. */
export interface KernelTextLocation {
  readonly paddr: bigint;
  readonly vaddr: bigint;
  readonly size: bigint;
}

/** RAM to describe, half-open. `fileOffset` says where its bytes lie if not at `start` (backup region). */
export interface RamRange {
  readonly start: bigint;
  readonly end: bigint;
  readonly fileOffset?: bigint;
}

/**
 * What a core header is built from. The two forms in use differ in `cpuNotes` alone:
 * Linux <= 6.5 and kexec-tools list the CPUs that are present, Linux >= 6.6 every possible CPU.
 */
export interface CoreHeaderInput {
  /** `crash_notes` of each CPU, by CPU number ascending. */
  readonly cpuNotes: readonly NoteLocation[];
  readonly vmcoreinfo: NoteLocation | undefined;
  readonly kernelText: KernelTextLocation | undefined;
  /** Without crash memory and what else must not be dumped; written in the order given, ascending by custom. */
  readonly ram: readonly RamRange[];
  /** The linear map's base, `__va(0)`. */
  readonly pageOffset: bigint;
}

/**
 * Builds a core header as `crash_prepare_elf64_headers` (kernel/kexec_file.c in 5.10, kernel/crash_core.c in 6.19) and
 * kexec-tools' crashdump-elf.c do: CPU notes, VMCOREINFO, kernel text, RAM. Notes have flags 0, loads flags 7,
 * all have alignment 0 and `p_filesz` = `p_memsz`.
 *
 * @throws {CoreHeaderError} where a RAM range is empty or leaves the 64-bit address space. Other widths are
 *   checked when the header is encoded.
 */
export function buildCoreHeader(input: CoreHeaderInput): CoreHeader {
  const programHeaders: ProgramHeader[] = input.cpuNotes.map(noteHeader);
  if (input.vmcoreinfo !== undefined) {
    programHeaders.push(noteHeader(input.vmcoreinfo));
  }
  if (input.kernelText !== undefined) {
    const { paddr, vaddr, size } = input.kernelText;
    programHeaders.push(load(paddr, paddr, vaddr, size));
  }
  for (const range of input.ram) {
    const index = programHeaders.length;
    if (range.start < 0n || range.start >= range.end || range.end > ADDRESS_LIMIT) {
      throw new CoreHeaderError({
        action: "build",
        field: `program header ${index}`,
        offset: EHDR_SIZE + PHDR_SIZE * index,
        found: `the range from ${hex(range.start)} to ${hex(range.end)}`,
        expected: "0 <= start < end <= 2^64",
      });
    }
    programHeaders.push(ramLoad(range, input.pageOffset));
  }
  return { fileHeader: buildFileHeader(programHeaders.length), programHeaders };
}

/**
 * The PT_LOAD that describes a RAM range.
 *
 * @param range - half-open; `fileOffset` where its bytes lie elsewhere.
 * @param pageOffset - the linear map's base; the virtual address is the sum modulo 2^64.
 */
export function ramLoad(range: RamRange, pageOffset: bigint): ProgramHeader {
  const vaddr = BigInt.asUintN(64, range.start + pageOffset);
  return load(range.fileOffset ?? range.start, range.start, vaddr, range.end - range.start);
}

/** The 64 bytes of the file header that both loaders write. `e_phnum` follows when the header is encoded. */
export function buildFileHeader(programHeaders: number): Uint8Array {
  const bytes = new Uint8Array(EHDR_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, ELF_MAGIC);
  for (const { offset, size, value } of FIXED_FIELDS) {
    for (let byte = 0; byte < size; byte++) {
      view.setUint8(offset + byte, (value >>> (8 * byte)) & 0xff);
    }
  }
  view.setBigUint64(E_PHOFF_OFFSET, BigInt(EHDR_SIZE), true);
  view.setUint16(E_PHNUM_OFFSET, Math.min(programHeaders, PN_XNUM), true);
  return bytes;
}

/**
 * Bytes of the buffer that a kernel's kexec_file_load makes for its core header, `ALIGN(..., 4096)`.
 *
 * The same before and since 6.6: room for every possible CPU's note (even where only present CPUs are written),
 * VMCOREINFO, the RAM ranges, and one slot for the kernel's text that is reserved whether used or not.
 *
 * @param cpus - possible CPUs. @param ranges - RAM ranges after exclusion of crash memory.
 */
export function kernelBufferSize(sizes: { readonly cpus: number; readonly ranges: number }): number {
  return alignUp(coreHeaderSize(sizes.cpus + 1 + sizes.ranges + 1), 4096);
}

/**
 * Bytes of the buffer that kexec-tools makes: rounded up to `ELF_CORE_HEADER_ALIGN`, 1024 (its segment in crash
 * memory is larger).
 *
 * @param phnum - program headers, all kinds.
 */
export function kexecToolsBufferSize(phnum: number): number {
  return alignUp(coreHeaderSize(phnum), 1024);
}

function alignUp(size: number, alignment: number): number {
  return Math.ceil(size / alignment) * alignment;
}

/** The PT_NOTE that leads to a note, in the form that both loaders write. */
export function noteHeader(location: NoteLocation): ProgramHeader {
  return {
    p_type: PT_NOTE,
    p_flags: 0,
    p_offset: location.paddr,
    p_vaddr: 0n,
    p_paddr: location.paddr,
    p_filesz: location.size,
    p_memsz: location.size,
    p_align: 0n,
  };
}

function load(fileOffset: bigint, paddr: bigint, vaddr: bigint, size: bigint): ProgramHeader {
  return {
    p_type: PT_LOAD,
    p_flags: PF_RWX,
    p_offset: fileOffset,
    p_vaddr: vaddr,
    p_paddr: paddr,
    p_filesz: size,
    p_memsz: size,
    p_align: 0n,
  };
}
