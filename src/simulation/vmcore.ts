/**
 * /proc/vmcore: what the capture kernel makes of the core header, and the bytes behind it.
 *
 * Written from fs/proc/vmcore.c and not from src/elfcore, so that what both say alike was found twice.
 */
import { alignDown, alignUp, PAGE_SIZE, u32, u64, u64Bytes } from "../image/bytes.ts";
import type { PhysicalRange } from "../layout/range.ts";
import { RangeSet } from "../layout/range-set.ts";
import type { SparseMemory } from "./memory.ts";

const EHDR = 64;
const PHDR = 56;
const PAGE = BigInt(PAGE_SIZE);
const LIMIT = 1n << 64n;
/** KERNEL_MAP: a load from here on is the kernel's text once more. */
const START_KERNEL_MAP = 0xffff_ffff_8000_0000n;
/** KMALLOC_MAX_SIZE: a note is copied with one kmalloc. */
const KMALLOC_MAX = 4n << 20n;

/** What a read of memory in the dump says where it cannot be done. */
export class VmcoreReadError extends Error {
  override readonly name = "VmcoreReadError";
  /** `EFAULT`: the capture kernel has taken that memory for its own. */
  readonly code = "EFAULT";
}

/** A PT_LOAD of the dump: `size` bytes of physical memory, found at `offset` of the file. */
export interface VmcoreLoad {
  readonly paddr: bigint;
  readonly size: bigint;
  readonly offset: bigint;
  readonly isKernelText: boolean;
}

/** What parse_crash_elf64_headers has read, or why it refused. */
export type ParsedHeader = { readonly vmcore: Vmcore } | { readonly refused: string };

/** A span of the file, and the memory that it shows. */
interface Mapping {
  readonly offset: bigint;
  readonly source: bigint;
  readonly size: bigint;
}

/** A dump, read span by span. */
export class Vmcore {
  /** Bytes of the file. */
  readonly size: bigint;
  readonly loads: readonly VmcoreLoad[];
  /** CPUs whose registers are in the dump: its NT_PRSTATUS notes. */
  readonly cpus: number;
  /** File header, program headers with one PT_NOTE, and the notes themselves. */
  readonly #head: Uint8Array;
  readonly #mappings: readonly Mapping[];
  readonly #memory: SparseMemory;
  readonly #unreadable: RangeSet;

  constructor(
    memory: SparseMemory,
    head: Uint8Array,
    mappings: readonly Mapping[],
    loads: readonly VmcoreLoad[],
    cpus: number,
    unreadable: RangeSet,
  ) {
    this.#memory = memory;
    this.#head = head;
    this.#mappings = mappings;
    this.#unreadable = unreadable;
    this.loads = loads;
    this.cpus = cpus;
    this.size = mappings.reduce(
      (end, { offset, size }) => (offset + size > end ? offset + size : end),
      BigInt(head.length),
    );
  }

  /** Everything before the first PT_LOAD's bytes: what `readelf -hln` needs. */
  get head(): Uint8Array {
    return this.#head.slice();
  }

  /** Physical memory that the dump has, the kernel's text not counted twice. */
  get described(): RangeSet {
    return RangeSet.of(
      this.loads.flatMap(({ paddr, size, isKernelText }) =>
        isKernelText || size === 0n ? [] : [{ start: paddr, end: paddr + size }],
      ),
    );
  }

  /** Memory that is described, and cannot be read. */
  get unreadable(): RangeSet {
    return this.described.intersect(this.#unreadable);
  }

  /**
   * `length` bytes from `offset` of the file, fewer at its end. Memory that is not there reads as zeros.
   *
   * @throws {VmcoreReadError} EFAULT, where the capture kernel uses the memory itself.
   */
  read(offset: bigint, length: number): Uint8Array {
    const left = this.size - offset;
    const bytes = new Uint8Array(left < BigInt(length) ? Math.max(0, Number(left)) : length);
    const end = offset + BigInt(bytes.length);
    if (offset < BigInt(this.#head.length)) {
      bytes.set(this.#head.subarray(Number(offset), Number(offset) + bytes.length));
    }
    for (const mapping of this.#mappings) {
      const from = mapping.offset > offset ? mapping.offset : offset;
      const to = mapping.offset + mapping.size < end ? mapping.offset + mapping.size : end;
      if (from >= to) continue;
      const source = mapping.source + from - mapping.offset;
      this.#checkReadable({ start: source, end: source + to - from });
      bytes.set(this.#memory.peek(source, Number(to - from)), Number(from - offset));
    }
    return bytes;
  }

  /** `length` bytes of the dumped machine's memory at physical `address`; undefined where the dump lacks any of it. */
  readPhysical(address: bigint, length: number): Uint8Array | undefined {
    const end = address + BigInt(length);
    const load = this.loads.find(({ paddr, size }) => paddr <= address && end <= paddr + size);
    return load && this.read(load.offset + address - load.paddr, length);
  }

  #checkReadable(range: PhysicalRange): void {
    if (this.#unreadable.overlaps(range))
      throw new VmcoreReadError(
        `Cannot read /proc/vmcore at physical 0x${range.start.toString(16)}: EFAULT, the capture kernel took hot-added memory as its own (its command line lacks acpi_no_memhotplug)`,
      );
  }
}

/** One program header, as it stands in the core header. */
interface Phdr {
  readonly type: number;
  readonly bytes: Uint8Array;
  readonly offset: bigint;
  readonly vaddr: bigint;
  readonly paddr: bigint;
  readonly memsz: bigint;
}

/**
 * Reads the core header at physical `address` (parse_crash_elf64_headers) and lays the dump out.
 *
 * @param unreadable - memory that the capture kernel uses itself.
 */
export function parseCoreHeader(memory: SparseMemory, address: bigint, unreadable: RangeSet): ParsedHeader {
  const file = memory.peek(address, EHDR);
  const insane = sanity(file);
  if (insane !== undefined) return { refused: `Core image elf header is not sane: ${insane}` };
  const count = u32(file, 0x38) & 0xffff;
  const phdrs = Array.from({ length: count }, (_, i) => phdrAt(memory, address + BigInt(EHDR + i * PHDR)));
  const notes = phdrs.filter(({ type }) => type === 4);
  if (notes.length === 0) return { refused: "no PT_NOTE: vmalloc(0) fails" };
  const wrong = phdrs.find(({ type, offset, memsz }) => (type === 1 || type === 4) && offset + memsz > LIMIT);
  if (wrong)
    return {
      refused: `a program header's p_offset 0x${wrong.offset.toString(16)} and its size leave the address space`,
    };
  const bad = notes.find(({ memsz }) => memsz === 0n || memsz > KMALLOC_MAX);
  if (bad) return { refused: `a PT_NOTE of ${bad.memsz} bytes: kmalloc fails` };
  const noteBytes = concat(notes.map((note) => readNotes(memory, note)));
  // Where a PT_NOTE stands among the others, the kernel drops the first headers whatever they are.
  const kept = phdrs.slice(notes.length);
  const headerSize = Number(alignUp(BigInt(EHDR + (kept.length + 1) * PHDR), PAGE));
  const head = new Uint8Array(headerSize + Number(alignUp(BigInt(noteBytes.length), PAGE)));
  head.set(file);
  new DataView(head.buffer).setUint16(0x38, kept.length + 1, true);
  head.set(mergedNote(headerSize, noteBytes.length), EHDR);
  head.set(noteBytes, headerSize);
  let next = BigInt(head.length);
  const mappings: Mapping[] = [];
  const loads: VmcoreLoad[] = [];
  kept.forEach((phdr, i) => {
    const at = EHDR + (i + 1) * PHDR;
    head.set(phdr.bytes, at);
    if (phdr.type !== 1) return;
    const start = alignDown(phdr.offset, PAGE);
    const size = alignUp(phdr.offset + phdr.memsz, PAGE) - start;
    const offset = next + phdr.offset - start;
    head.set(u64Bytes(offset), at + 8);
    if (size > 0n) mappings.push({ offset: next, source: start, size });
    loads.push({ paddr: phdr.paddr, size: phdr.memsz, offset, isKernelText: phdr.vaddr >= START_KERNEL_MAP });
    next += size;
  });
  return { vmcore: new Vmcore(memory, head, mappings, loads, countCpus(noteBytes), unreadable) };
}

/** Bytes of the core header at `address`, as far as its `e_phnum` says. */
export function coreHeaderBytes(memory: SparseMemory, address: bigint): number {
  return EHDR + (u32(memory.peek(address + 0x38n, 4), 0) & 0xffff) * PHDR;
}

/** What the kernel finds wrong with a file header, or undefined. */
function sanity(file: Uint8Array): string | undefined {
  const checks: readonly (readonly [boolean, string])[] = [
    [u32(file, 0) === 0x464c_457f, "no ELF magic"],
    [(u32(file, 0x10) & 0xffff) === 4, "e_type is not ET_CORE"],
    [u32(file, 0x10) >>> 16 === 62, "e_machine is not EM_X86_64"],
    [file[4] === 2, "not ELFCLASS64"],
    [file[6] === 1 && u32(file, 0x14) === 1, "not EV_CURRENT"],
    [(u32(file, 0x34) & 0xffff) === EHDR, "e_ehsize is not 64"],
    [u32(file, 0x34) >>> 16 === PHDR, "e_phentsize is not 56"],
    [(u32(file, 0x38) & 0xffff) !== 0, "e_phnum is 0"],
  ];
  return checks.find(([holds]) => !holds)?.[1];
}

function phdrAt(memory: SparseMemory, address: bigint): Phdr {
  const bytes = memory.peek(address, PHDR);
  return {
    type: u32(bytes, 0),
    bytes,
    offset: u64(bytes, 8),
    vaddr: u64(bytes, 16),
    paddr: u64(bytes, 24),
    memsz: u64(bytes, 40),
  };
}

/** The notes of one PT_NOTE up to the first empty one (update_note_header_size_elf64). */
function readNotes(memory: SparseMemory, { offset, memsz }: Phdr): Uint8Array {
  const bytes = memory.peek(offset, Number(memsz));
  const last = [...notesIn(bytes)].at(-1);
  return bytes.subarray(0, last?.end ?? 0);
}

/** NT_PRSTATUS: one for each CPU that saved its registers. */
function countCpus(bytes: Uint8Array): number {
  return [...notesIn(bytes)].filter(({ type }) => type === 1).length;
}

/** Notes one behind the other, up to the first that is empty or does not fit. */
function* notesIn(bytes: Uint8Array): Generator<{ readonly type: number; readonly end: number }> {
  for (let at = 0; at + 12 <= bytes.length && u32(bytes, at) !== 0;) {
    const end = at + 12 + align4(u32(bytes, at)) + align4(u32(bytes, at + 4));
    if (end > bytes.length) return;
    yield { type: u32(bytes, at + 8), end };
    at = end;
  }
}

function align4(size: number): number {
  return Math.ceil(size / 4) * 4;
}

function mergedNote(offset: number, size: number): Uint8Array {
  const bytes = new Uint8Array(PHDR);
  bytes[0] = 4;
  bytes.set(u64Bytes(BigInt(offset)), 8);
  bytes.set(u64Bytes(BigInt(size)), 32);
  bytes.set(u64Bytes(BigInt(size)), 40);
  return bytes;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
