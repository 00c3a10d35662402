/**
 * /proc/kcore as bytes: which physical memory lies where in the file (fs/proc/kcore.c).
 *
 * One PT_NOTE, then PT_LOADs by virtual address: RAM in the linear mapping, and the kernel's text, with a `p_paddr`
 * since v4.11; vmalloc, vmemmap and modules with a `p_paddr` of -1. An ELF core file of physical memory, such as QEMU's
 * `dump-guest-memory` writes, is read in the same way.
 */
import { programHeaderCount, readProgramHeader } from "../../elfcore/decode.ts";
import { CoreHeaderError } from "../../elfcore/error.ts";
import { hex } from "../../elfcore/hex.ts";
import { coreHeaderSize, EHDR_SIZE, PHDR_SIZE, PT_LOAD, PT_NOTE } from "../../elfcore/header.ts";
import { KERNEL_MAP_START } from "../../elfcore/kinds.ts";
import { textUntilNul, u32, u64 } from "../../image/bytes.ts";
import { ADDRESS_END, formatRange, type PhysicalRange } from "../../layout/range.ts";
import { LocalError } from "./error.ts";

/** Physical memory in the file. */
export interface KcoreLoad {
  readonly range: PhysicalRange;
  /** Where in the file its first byte is. With five-level page tables beyond 2^53. */
  readonly offset: bigint;
}

/** What the program headers say. */
export interface KcoreTable {
  /** Ascending and disjoint. */
  readonly loads: readonly KcoreLoad[];
  /** `__va(0)`, on which all loads agree; undefined where they do not, as in a dump without virtual addresses. */
  readonly pageOffset: bigint | undefined;
  /** Where the notes are in the file; undefined where there are none. */
  readonly notes: { readonly offset: bigint; readonly size: number } | undefined;
}

/** `p_paddr` of what has no physical address of its own. */
const NO_ADDRESS = ADDRESS_END - 1n;
/** A file's last possible byte: `loff_t` is signed. */
const OFFSET_END = 1n << 63n;
/** Where the kernel's half of the virtual addresses begins. */
const KERNEL_HALF = 1n << 63n;
/** More than kcore's notes have: registers, a task_struct of some KiB, and VMCOREINFO. */
const MAX_NOTES = 1n << 20n;

/**
 * How many bytes file header and program headers have, from at least the first 64 of them.
 *
 * @param where - the file, for the error.
 * @throws {LocalError} `malformed` where they are no ELF core file of x86-64, or its program headers do not follow at once.
 */
export function kcoreHeaderSize(first64: Uint8Array, where: string): number {
  let count: number;
  try {
    count = programHeaderCount(first64);
  } catch (error) {
    if (!(error instanceof CoreHeaderError)) throw error;
    const { field, offset, found, expected } = error;
    throw malformed(where, `${field} at offset ${hex(offset)} is ${found}, expected ${expected}`);
  }
  const programHeaders = u64(first64, 0x20);
  if (programHeaders !== BigInt(EHDR_SIZE))
    throw malformed(where, `e_phoff is ${hex(programHeaders)}, expected ${hex(EHDR_SIZE)}`);
  return coreHeaderSize(count);
}

/**
 * The table that `header` (as many bytes as {@link kcoreHeaderSize} says) makes.
 *
 * @throws {LocalError} `malformed` where loads overlap, or leave the file or the address space.
 */
export function parseKcore(header: Uint8Array, where: string): KcoreTable {
  const size = kcoreHeaderSize(header, where);
  if (header.length < size)
    throw malformed(where, `it ends after ${header.length} bytes, its program headers after ${size}`);
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const loads: KcoreLoad[] = [];
  const bases = new Set<bigint>();
  let notes: KcoreTable["notes"];
  for (let at = EHDR_SIZE; at < size; at += PHDR_SIZE) {
    const { p_type, p_offset, p_vaddr, p_paddr, p_filesz } = readProgramHeader(view, at);
    if (p_filesz === 0n) continue;
    const what = `program header ${(at - EHDR_SIZE) / PHDR_SIZE}`;
    if (p_type === PT_NOTE || isLinear(p_type, p_vaddr, p_paddr)) {
      if (p_offset + p_filesz > OFFSET_END)
        throw malformed(where, `${what} has ${hex(p_filesz)} bytes at ${hex(p_offset)}, beyond any file`);
    }
    if (p_type === PT_NOTE && p_filesz <= MAX_NOTES) notes ??= { offset: p_offset, size: Number(p_filesz) };
    if (!isLinear(p_type, p_vaddr, p_paddr)) continue;
    if (p_paddr + p_filesz > ADDRESS_END)
      throw malformed(where, `${what} has ${hex(p_filesz)} bytes from ${hex(p_paddr)} on, beyond 2^64`);
    loads.push({ range: { start: p_paddr, end: p_paddr + p_filesz }, offset: p_offset });
    bases.add(BigInt.asUintN(64, p_vaddr - p_paddr));
  }
  loads.sort((a, b) => (a.range.start < b.range.start ? -1 : 1));
  for (const [i, { range }] of loads.entries()) {
    const before = loads[i - 1]?.range;
    if (before && range.start < before.end)
      throw malformed(where, `${formatRange(before)} and ${formatRange(range)} overlap in it`);
  }
  const [base, ...others] = bases;
  // A dump without virtual addresses has the physical ones in their place.
  const agreed = others.length === 0 && base !== undefined && base >= KERNEL_HALF;
  return { loads, pageOffset: agreed ? base : undefined, notes };
}

/** What lies in the file of the `length` bytes at physical `address`; undefined where the loads do not cover them. */
export function kcorePieces(
  { loads }: KcoreTable,
  address: bigint,
  length: number,
): readonly { readonly offset: bigint; readonly length: number }[] | undefined {
  const pieces: { readonly offset: bigint; readonly length: number }[] = [];
  const end = address + BigInt(length);
  let at = address;
  let low = 0;
  for (let high = loads.length; low < high;) {
    const middle = (low + high) >>> 1;
    if (loads[middle]!.range.end <= at) low = middle + 1;
    else high = middle;
  }
  for (; at < end; low++) {
    const load = loads[low];
    if (!load || load.range.start > at) return undefined;
    const upTo = load.range.end < end ? load.range.end : end;
    pieces.push({ offset: load.offset + at - load.range.start, length: Number(upTo - at) });
    at = upTo;
  }
  return pieces;
}

/**
 * The VMCOREINFO note (header, name, text) among `notes`; undefined where there is none. It is there since v4.19
 * (23c85094fe18, "proc/kcore: add vmcoreinfo note to /proc/kcore").
 */
export function vmcoreinfoIn(notes: Uint8Array): Uint8Array | undefined {
  for (let at = 0; at + 12 <= notes.length;) {
    const nameSize = u32(notes, at);
    const end = at + 12 + roundUp(nameSize) + roundUp(u32(notes, at + 4));
    if (end > notes.length) return undefined;
    if (textUntilNul(notes.subarray(at + 12, at + 12 + Math.min(nameSize, 11))) === "VMCOREINFO")
      return notes.subarray(at, end);
    at = end;
  }
  return undefined;
}

/** RAM in the linear mapping. The kernel's text, which is higher up, is in there too. */
function isLinear(p_type: number, p_vaddr: bigint, p_paddr: bigint): boolean {
  return p_type === PT_LOAD && p_paddr !== NO_ADDRESS && p_vaddr < KERNEL_MAP_START;
}

function roundUp(size: number): number {
  return Math.ceil(size / 4) * 4;
}

function malformed(where: string, reason: string): LocalError {
  return new LocalError("malformed", `${where} is not a kernel's memory as ELF core file: ${reason}`);
}
