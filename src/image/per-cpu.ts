/**
 * Where the notes of all possible CPUs lie, those that are not there yet included: by the running kernel's own tables.
 *
 * A note's virtual address is `crash_notes + __per_cpu_offset[cpu]` (per_cpu_ptr, include/linux/percpu-defs.h). Both are
 * in the kernel's data. No symbol says where, so both are found by content and proven by the notes that the core
 * header has: each of them must come out exactly. On x86-64 before 6.15 the table holds, for each possible CPU, the
 * address of its per-CPU unit in the linear mapping, and behind them `__per_cpu_load`, an address in the kernel's
 * image, up to NR_CPUS (arch/x86/kernel/setup_percpu.c, `BOOT_PERCPU_OFFSET`). The end of the possible CPUs is told by
 * that, and their number is the kernel's own.
 *
 * The distance between two notes proves nothing about a third one: with NUMA, units lie in a group for each node.
 */
import type { NoteLocation } from "../elfcore/build.ts";
import type { CoreHeader } from "../elfcore/header.ts";
import { cpuNotes } from "../elfcore/kinds.ts";
import type { RangeSet } from "../layout/range-set.ts";
import { findU64s, PAGE_SIZE, u64, words } from "./bytes.ts";
import { isCpuNote } from "./core-header.ts";
import type { KernelSpan } from "./kernel-bytes.ts";
import type { PhysicalMemory } from "./memory.ts";

/** NR_CPUS of x86-64 is 8192 at most, and QEMU has 4096 CPUs at most. */
const MAX_CPUS = 4096;
/** Entries behind the last possible CPU's that must be there: fewer do not tell the table's end from chance. */
const MIN_TAIL = 4;
/** Notes whose content is looked at when the table is found; the others are only checked to lie in RAM. */
const NOTES_READ = 512;
/** Places that look like the end of such a table; a kernel has one or two. */
const MAX_TABLES = 64;
const U64 = 8;

/** The kernel's own account of its per-CPU areas, as far as CPU notes need it. */
export interface PerCpuTable {
  /** Physical address of `__per_cpu_offset[0]`. */
  readonly address: bigint;
  /** How many CPUs are possible. */
  readonly count: number;
  /** `crash_notes`: what is added to a CPU's offset. */
  readonly crashNotes: bigint;
}

/** Notes of all possible CPUs by CPU number, or why they are not known. */
export type PossibleCpus =
  | { readonly state: "known"; readonly notes: readonly NoteLocation[] }
  | { readonly state: "unknown"; readonly reason: string };

/** Where things are that tell a table's entries from other numbers. Virtual addresses but for `ram`. */
interface AddressSpace {
  readonly ram: RangeSet;
  readonly crashMemory: RangeSet;
  readonly pageOffset: bigint;
}

/**
 * Searches the kernel's data for the table.
 *
 * @param kernel what lies from `_stext` on, which is at virtual `stext`.
 * @param header a core header of this kernel: its CPU notes prove the table.
 * @returns undefined where none or more than one fits, or a note would not be what the kernel has there.
 */
export async function findPerCpuTable(
  memory: PhysicalMemory,
  kernel: KernelSpan,
  stext: bigint,
  space: AddressSpace,
  header: CoreHeader,
): Promise<PerCpuTable | undefined> {
  const found = new Map<bigint, PerCpuTable>();
  for (const end of await tableEnds(kernel, stext)) {
    const offsets = fromCpuZero(await unitsBefore(memory, kernel, end, space), header, space);
    const crashNotes = pointerFor(offsets, header, space);
    if (crashNotes === undefined || !(await contains(kernel, crashNotes))) continue;
    const address = kernel.address + BigInt(end - offsets.length * U64);
    found.set(address, { address, count: offsets.length, crashNotes });
  }
  const [table, ...others] = found.values();
  if (!table || others.length > 0) return undefined;
  const known = await readPossibleCpus(memory, table, space, header);
  if (known.state === "unknown") return undefined;
  for (const { paddr, size } of known.notes.slice(0, NOTES_READ))
    if (!isCpuNote(await memory.read(paddr, Number(size)))) return undefined;
  return table;
}

/**
 * The notes by a table that was found before. The table is read anew and proven anew: the guest may have been reset
 * since, or never have been what it seemed.
 */
export async function readPossibleCpus(
  memory: PhysicalMemory,
  table: PerCpuTable,
  space: AddressSpace,
  header: CoreHeader,
): Promise<PossibleCpus> {
  const length = table.count * U64;
  if (!space.ram.covers({ start: table.address, end: table.address + BigInt(length) }))
    return unknown("the kernel's per-CPU table is not in RAM any more");
  const bytes = await memory.read(table.address, length);
  const offsets = Array.from({ length: table.count }, (_, cpu) => u64(bytes, cpu * U64));
  if (
    !offsets.every((offset) => isUnit(offset, space)) ||
    pointerFor(offsets, header, space) !== table.crashNotes
  )
    return unknown("the notes in the header are not where the kernel's per-CPU table has them");
  const size = cpuNotes(header)[0]!.p_memsz;
  const notes = offsets.map((offset) => ({ paddr: offset + table.crashNotes - space.pageOffset, size }));
  const usable = space.ram.subtract(space.crashMemory);
  const lost = notes.findIndex(({ paddr }) => !usable.covers({ start: paddr, end: paddr + size }));
  return lost === -1
    ? { state: "known", notes }
    : unknown(`the note of CPU ${lost} would not lie in memory that the kernel uses`);
}

function unknown(reason: string): PossibleCpus {
  return { state: "unknown", reason };
}

async function contains(kernel: KernelSpan, value: bigint): Promise<boolean> {
  for await (const { bytes } of kernel.windows()) if (findU64s(bytes, value, 1).length > 0) return true;
  return false;
}

/**
 * Offsets in `kernel` behind the last possible CPU's entry: from there on the same page-aligned address of the kernel's
 * image stands again and again.
 */
async function tableEnds(kernel: KernelSpan, stext: bigint): Promise<readonly number[]> {
  const ends = new Set<number>();
  for await (const { offset, bytes } of kernel.windows())
    for (const end of runsOfLoadAddresses(bytes, stext, kernel.length))
      if (ends.size < MAX_TABLES) ends.add(offset + end);
  return [...ends];
}

/** Where such runs begin in `bytes`; one that began before them begins at 0. */
function runsOfLoadAddresses(bytes: Uint8Array, stext: bigint, length: number): readonly number[] {
  const list = words(bytes);
  const runs: number[] = [];
  const isLoadAddress = (i: number): boolean =>
    list[i + 1] === 0xffff_ffff &&
    list[i]! % PAGE_SIZE === 0 &&
    u64(bytes, i * 4) >= stext &&
    u64(bytes, i * 4) < stext + BigInt(length);
  const same = (i: number, j: number): boolean => list[i] === list[j] && list[i + 1] === list[j + 1];
  // A run of four u64s covers one whose number is a multiple of four.
  const step = 2 * MIN_TAIL;
  for (let i = 0; i + 1 < list.length && runs.length < MAX_TABLES; i += step) {
    if (!isLoadAddress(i)) continue;
    let start = i;
    while (start >= 2 && same(start - 2, i)) start -= 2;
    let end = i + 2;
    while (end + 1 < list.length && same(end, i)) end += 2;
    if (end - start >= step) runs.push(start * 4);
    // To the step that holds the run's end.
    i = Math.max(i, end - (end % step) - step);
  }
  return runs;
}

/** Entries that stand right before `end` and may be per-CPU units, first one first. */
async function unitsBefore(
  memory: PhysicalMemory,
  kernel: KernelSpan,
  end: number,
  space: AddressSpace,
): Promise<readonly bigint[]> {
  const length = Math.min(end, MAX_CPUS * U64);
  const bytes = await memory.read(kernel.address + BigInt(end - length), length);
  const units: bigint[] = [];
  for (let at = length - U64; at >= 0; at -= U64) {
    const value = u64(bytes, at);
    if (!isUnit(value, space)) break;
    units.push(value);
  }
  return units.toReversed();
}

function isUnit(value: bigint, { ram, pageOffset }: AddressSpace): boolean {
  return value % BigInt(PAGE_SIZE) === 0n && value >= pageOffset && ram.contains(value - pageOffset);
}

/**
 * `units` from CPU 0's on, in which the header's first note lies: what stands before the table may look like a unit too.
 */
function fromCpuZero(
  units: readonly bigint[],
  header: CoreHeader,
  { pageOffset }: AddressSpace,
): readonly bigint[] {
  const note = (cpuNotes(header)[0]?.p_paddr ?? 0n) + pageOffset;
  let zero: bigint | undefined;
  for (const unit of units) if (unit < note && (zero === undefined || unit > zero)) zero = unit;
  return zero === undefined ? [] : units.slice(units.lastIndexOf(zero));
}

/**
 * The `crash_notes` with which `offsets` give every CPU note of `header`: CPU 0's is the first (Linux does not let it
 * go), and the others follow in the order of their CPUs.
 *
 * @returns undefined where there is none such, or a note would reach beyond its CPU's unit.
 */
function pointerFor(
  offsets: readonly bigint[],
  header: CoreHeader,
  { pageOffset }: AddressSpace,
): bigint | undefined {
  const notes = cpuNotes(header);
  const [first] = notes;
  const [zero] = offsets;
  if (!first || zero === undefined || notes.length > offsets.length) return undefined;
  const crashNotes = pageOffset + first.p_paddr - zero;
  const sorted = [...offsets].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const overlaps = sorted.some((unit, i) => i > 0 && unit - sorted[i - 1]! < crashNotes + first.p_memsz);
  if (crashNotes <= 0n || overlaps) return undefined;
  let cpu = 0;
  for (const { p_paddr, p_memsz } of notes) {
    while (cpu < offsets.length && offsets[cpu]! + crashNotes - pageOffset !== p_paddr) cpu++;
    if (cpu++ >= offsets.length || p_memsz !== first.p_memsz) return undefined;
  }
  return crashNotes;
}
