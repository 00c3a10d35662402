/** Bytes as a core header: what the capture kernel would take is taken, what it would not take is named. */
import { CoreHeaderError } from "./error.ts";
import { hex } from "./hex.ts";
import {
  ADDRESS_LIMIT,
  ELF_MAGIC,
  FIXED_FIELDS,
  P_FLAGS_OFFSET,
  P_TYPE_OFFSET,
  WIDE_FIELD_OFFSETS,
  type FixedField,
  type WideField,
} from "./fields.ts";
import {
  type CoreHeader,
  coreHeaderSize,
  E_PHNUM_OFFSET,
  EHDR_SIZE,
  PHDR_SIZE,
  PN_XNUM,
  type ProgramHeader,
  PT_LOAD,
  PT_NOTE,
} from "./header.ts";

/**
 * The largest PT_NOTE that the capture kernel can take: it copies each with one `kmalloc(p_memsz)`, whose limit
 * is 4 MiB on x86-64 (`KMALLOC_MAX_SIZE`).
 */
export const MAX_NOTE_SIZE: bigint = 4n << 20n;

/**
 * Decodes a core header as `parse_crash_elf64_headers` (fs/proc/vmcore.c, 5.10 to 6.19) would read it.
 *
 * | input | the kernel | here |
 * |---|---|---|
 * | magic, `EI_VERSION`, ET_CORE, EM_X86_64, `e_version`, `e_ehsize`, `e_phentsize` differ | -EINVAL, "not sane" | rejected |
 * | `EI_CLASS` 32 bits | another parser, for 32-bit kernels | rejected |
 * | `e_phnum` 0 | -EINVAL | rejected |
 * | `EI_DATA` big endian | not looked at, handed on to the dump's readers | rejected: they would misread it |
 * | `e_phnum` 0xffff (`PN_XNUM`) | takes it for a count, as no section header is read | rejected: it means another count |
 * | buffer shorter than `e_phnum` says | reads whatever follows the segment | rejected |
 * | `e_phoff`, `e_entry`, `e_flags`, section fields, `EI_OSABI`, padding | not looked at: program headers are at 64 | accepted, kept |
 * | no PT_NOTE | vmalloc(0) fails, -ENOMEM | rejected |
 * | PT_NOTE after a program header that is none | drops the first headers, notes or not: memory is lost without a word | rejected |
 * | PT_NOTE with `p_memsz` 0 | follows kmalloc's pointer for nothing and faults | rejected |
 * | PT_NOTE with `p_memsz` over 4 MiB | kmalloc fails, -ENOMEM | rejected |
 * | PT_NOTE or PT_LOAD whose `p_offset` or `p_paddr` plus size passes 2^64 | wraps round: sizes and file offsets are nonsense | rejected |
 * | ending at 2^64 exactly | right by wrap-around | accepted |
 * | PT_LOADs unsorted, overlapping, doubled, empty, not page-aligned | no check, listed as they are | accepted, kept |
 * | PT_LOAD with `p_offset` != `p_paddr` | reads at `p_offset`, shows `p_paddr` (kexec-tools' backup region) | accepted, kept |
 * | `p_filesz` != `p_memsz` | trusts `p_memsz` | accepted, kept |
 * | any other `p_type`, after the notes | skipped, copied to the dump | accepted, kept |
 * | any `p_flags`, `p_vaddr`, `p_align` | copied to the dump | accepted, kept |
 * | no PT_LOAD | an empty dump | accepted |
 *
 * Bytes behind the last program header are ignored: a segment is padded with zeros.
 * The result shares no memory with `bytes`.
 *
 * @returns a header for which `encodeCoreHeader` gives the first 64 + 56 * e_phnum bytes of the input.
 * @throws {CoreHeaderError} for everything that the table rejects, and for nothing else.
 *
 * @param bytes a core header, with or without padding behind it: a vmcore's beginning, a segment of crash memory.
 * @example
 * ```ts
 * import { buildCoreHeader, decodeCoreHeader, encodeCoreHeader } from "kdump-hotplug";
 *
 * const header = buildCoreHeader({
 *   cpuNotes: [{ paddr: 0x1000n, size: 4096n }],
 *   vmcoreinfo: undefined,
 *   kernelText: undefined,
 *   ram: [{ start: 0x100000n, end: 0x8000_0000n }],
 *   pageOffset: 0xffff_8880_0000_0000n,
 * });
 * const bytes = encodeCoreHeader(header);
 * console.log(bytes.length); // 176
 * console.log(decodeCoreHeader(bytes).programHeaders.length); // 2
 * ```
 */
export function decodeCoreHeader(bytes: Uint8Array): CoreHeader {
  const count = programHeaderCount(bytes);
  const needed = coreHeaderSize(count);
  if (bytes.length < needed) {
    throw problem("buffer", 0, `${bytes.length} bytes`, `at least ${needed} bytes for e_phnum ${count}`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const programHeaders: ProgramHeader[] = [];
  let firstOther: number | undefined;
  for (let index = 0; index < count; index++) {
    const offset = EHDR_SIZE + PHDR_SIZE * index;
    const programHeader = readProgramHeader(view, offset);
    if (programHeader.p_type !== PT_NOTE) {
      firstOther ??= index;
    }
    checkOrder(index, offset, programHeader, firstOther);
    checkExtent(index, offset, programHeader);
    programHeaders.push(programHeader);
  }
  return { fileHeader: Uint8Array.from(bytes.subarray(0, EHDR_SIZE)), programHeaders };
}

/**
 * Checks the 64 bytes of the file header alone and says how many program headers follow, so that a reader knows
 * what to read next: 56 * the result bytes, at offset 64.
 *
 * @param first64 - at least the first 64 bytes of the core header.
 * @throws {CoreHeaderError} as `decodeCoreHeader` does for the file header.
 */
export function programHeaderCount(first64: Uint8Array): number {
  if (first64.length < EHDR_SIZE) {
    throw problem(
      "buffer",
      0,
      `${first64.length} bytes`,
      `at least ${EHDR_SIZE} bytes for the ELF64 file header`,
    );
  }
  const view = new DataView(first64.buffer, first64.byteOffset, first64.byteLength);
  const magic = view.getUint32(0);
  if (magic !== ELF_MAGIC) {
    throw problem("magic", 0, hex(magic), `${hex(ELF_MAGIC)} (ELFMAG)`);
  }
  for (const field of FIXED_FIELDS) {
    const found = loadFixed(view, field);
    if (found !== field.value) {
      throw problem(field.name, field.offset, hex(found), `${hex(field.value)} (${field.meaning})`);
    }
  }
  const count = view.getUint16(E_PHNUM_OFFSET, true);
  if (count === 0 || count === PN_XNUM) {
    throw problem("e_phnum", E_PHNUM_OFFSET, String(count), `1 to ${PN_XNUM - 1}`);
  }
  return count;
}

/** The program header at `offset`, field by field and unchecked; the caller knows that its 56 bytes are there. */
export function readProgramHeader(view: DataView, offset: number): ProgramHeader {
  return {
    p_type: view.getUint32(offset + P_TYPE_OFFSET, true),
    p_flags: view.getUint32(offset + P_FLAGS_OFFSET, true),
    p_offset: view.getBigUint64(offset + WIDE_FIELD_OFFSETS.p_offset, true),
    p_vaddr: view.getBigUint64(offset + WIDE_FIELD_OFFSETS.p_vaddr, true),
    p_paddr: view.getBigUint64(offset + WIDE_FIELD_OFFSETS.p_paddr, true),
    p_filesz: view.getBigUint64(offset + WIDE_FIELD_OFFSETS.p_filesz, true),
    p_memsz: view.getBigUint64(offset + WIDE_FIELD_OFFSETS.p_memsz, true),
    p_align: view.getBigUint64(offset + WIDE_FIELD_OFFSETS.p_align, true),
  };
}

function loadFixed(view: DataView, { offset, size }: FixedField): number {
  if (size === 1) {
    return view.getUint8(offset);
  }
  return size === 2 ? view.getUint16(offset, true) : view.getUint32(offset, true);
}

function checkOrder(
  index: number,
  offset: number,
  found: ProgramHeader,
  firstOther: number | undefined,
): void {
  if (index === 0 && found.p_type !== PT_NOTE) {
    throw problem("program header 0: p_type", offset, hex(found.p_type), `${hex(PT_NOTE)} (PT_NOTE)`);
  }
  if (found.p_type === PT_NOTE && firstOther !== undefined) {
    throw problem(
      `program header ${index}: p_type`,
      offset,
      `${hex(PT_NOTE)} (PT_NOTE)`,
      `no note after program header ${firstOther}, which is none`,
    );
  }
}

function checkExtent(index: number, base: number, found: ProgramHeader): void {
  if (found.p_type !== PT_NOTE && found.p_type !== PT_LOAD) {
    return;
  }
  const size = found.p_filesz > found.p_memsz ? found.p_filesz : found.p_memsz;
  checkEnd("p_offset", index, base, found, size);
  checkEnd("p_paddr", index, base, found, size);
  if (found.p_type === PT_NOTE && (found.p_memsz === 0n || found.p_memsz > MAX_NOTE_SIZE)) {
    throw problem(
      `program header ${index}: p_memsz`,
      base + WIDE_FIELD_OFFSETS.p_memsz,
      hex(found.p_memsz),
      `0x1 to ${hex(MAX_NOTE_SIZE)} for a PT_NOTE`,
    );
  }
}

function checkEnd(field: WideField, index: number, base: number, found: ProgramHeader, size: bigint): void {
  if (found[field] + size > ADDRESS_LIMIT) {
    throw problem(
      `program header ${index}: ${field}`,
      base + WIDE_FIELD_OFFSETS[field],
      hex(found[field]),
      `at most ${hex(ADDRESS_LIMIT - size)}, for its size is ${hex(size)}`,
    );
  }
}

function problem(field: string, offset: number, found: string, expected: string): CoreHeaderError {
  return new CoreHeaderError({ action: "decode", field, offset, found, expected });
}
