/** Where each field of `Elf64_Phdr` lies, and the file header's fields that /proc/vmcore looks at. */

/** An 8-byte field of a program header. */
export type WideField = "p_offset" | "p_vaddr" | "p_paddr" | "p_filesz" | "p_memsz" | "p_align";

/** Offset of `p_type` (u32) in a program header. */
export const P_TYPE_OFFSET = 0x00;
/** Offset of `p_flags` (u32) in a program header. */
export const P_FLAGS_OFFSET = 0x04;

/** Offsets of the u64 fields in a program header, in bytes, ascending. */
export const WIDE_FIELD_OFFSETS: Readonly<Record<WideField, number>> = {
  p_offset: 0x08,
  p_vaddr: 0x10,
  p_paddr: 0x18,
  p_filesz: 0x20,
  p_memsz: 0x28,
  p_align: 0x30,
};

/** A field of the file header that has one right value only. */
export interface FixedField {
  readonly name: string;
  readonly offset: number;
  /** Bytes; the field is little endian. */
  readonly size: 1 | 2 | 4;
  readonly value: number;
  /** The constant's name in elf.h. */
  readonly meaning: string;
}

/**
 * The fields of `Elf64_Ehdr` that must hold exactly this, in ascending order.
 *
 * All but `EI_DATA` are what `parse_crash_elf64_headers` in fs/proc/vmcore.c insists on. The kernel does not
 * look at `EI_DATA`, but it hands the byte on in /proc/vmcore, where every reader obeys it; so it counts here.
 */
export const FIXED_FIELDS: readonly FixedField[] = [
  { name: "EI_CLASS", offset: 0x04, size: 1, value: 2, meaning: "ELFCLASS64" },
  { name: "EI_DATA", offset: 0x05, size: 1, value: 1, meaning: "ELFDATA2LSB" },
  { name: "EI_VERSION", offset: 0x06, size: 1, value: 1, meaning: "EV_CURRENT" },
  { name: "e_type", offset: 0x10, size: 2, value: 4, meaning: "ET_CORE" },
  { name: "e_machine", offset: 0x12, size: 2, value: 62, meaning: "EM_X86_64" },
  { name: "e_version", offset: 0x14, size: 4, value: 1, meaning: "EV_CURRENT" },
  { name: "e_ehsize", offset: 0x34, size: 2, value: 64, meaning: "sizeof(Elf64_Ehdr)" },
  { name: "e_phentsize", offset: 0x36, size: 2, value: 56, meaning: "sizeof(Elf64_Phdr)" },
];

/** `ELFMAG`: 0x7f "ELF", read as a big-endian u32. */
export const ELF_MAGIC = 0x7f454c46;
/** Offset of `e_phoff` (u64) in the file header; /proc/vmcore ignores it and assumes 64. */
export const E_PHOFF_OFFSET = 0x20;

/** One past the highest 64-bit address. */
export const ADDRESS_LIMIT: bigint = 1n << 64n;
