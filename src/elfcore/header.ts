/** The core header (`elfcorehdr`) as values: what the capture kernel will believe the machine to be. */

/** `PT_LOAD`: memory that the dump will contain. */
export const PT_LOAD = 1;
/** `PT_NOTE`: a note that the dump will contain (a CPU's registers, or VMCOREINFO). */
export const PT_NOTE = 4;
/** `p_flags` of every PT_LOAD in a core header: read, write, execute. */
export const PF_RWX = 7;

/** Bytes of an ELF64 file header (`Elf64_Ehdr`), at offset 0 of the core header. */
export const EHDR_SIZE = 64;
/** Bytes of one ELF64 program header (`Elf64_Phdr`). */
export const PHDR_SIZE = 56;
/** Bytes of a core header with `count` program headers. */
export function coreHeaderSize(count: number): number {
  return EHDR_SIZE + count * PHDR_SIZE;
}

/** How many program headers a core header of at most `capacity` bytes has room for. */
export function programHeaderRoom(capacity: number): number {
  return Math.floor((capacity - EHDR_SIZE) / PHDR_SIZE);
}

/** Offset of `e_phnum` (u16) in the ELF64 file header. */
export const E_PHNUM_OFFSET = 0x38;
/** `PN_XNUM`: an `e_phnum` that /proc/vmcore does not support (fs/proc/vmcore.c). */
export const PN_XNUM = 0xffff;

/** One `Elf64_Phdr`, field by field. Addresses and sizes are unsigned 64-bit. */
export interface ProgramHeader {
  readonly p_type: number;
  readonly p_flags: number;
  readonly p_offset: bigint;
  readonly p_vaddr: bigint;
  readonly p_paddr: bigint;
  readonly p_filesz: bigint;
  readonly p_memsz: bigint;
  readonly p_align: bigint;
}

/**
 * A decoded core header.
 *
 * `fileHeader` holds the 64 bytes as they were read, so that encoding gives the same bytes back; only
 * `e_phnum` in it follows `programHeaders` when it is encoded.
 */
export interface CoreHeader {
  readonly fileHeader: Uint8Array;
  readonly programHeaders: readonly ProgramHeader[];
}
