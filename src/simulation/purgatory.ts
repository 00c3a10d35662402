/**
 * Purgatory: the code between a panic and the capture kernel, as the few words of data that decide what it does.
 *
 * Its machine code is stood in for by a block of words at its entry, which say where its data is. Region table and
 * digest are as in a real one, at the places where those of kexec_file_load and kexec-tools have them.
 */
import { equalBytes, u64, u64Bytes } from "../image/bytes.ts";
import type { Sha256 } from "../image/hash.ts";
import { DIGEST_SIZE, encodeRegions, REGION_COUNT, REGION_TABLE_SIZE } from "../image/purgatory.ts";
import type { PhysicalRange } from "../layout/range.ts";
import { noise } from "./bytes.ts";
import type { SparseMemory } from "./memory.ts";

/** Where a loader's purgatory has its data; bytes from the segment's start. */
export interface PurgatoryShape {
  readonly size: number;
  readonly table: number;
  readonly digest: number;
}

/** The kernel's own (arch/x86/purgatory), for kexec_file_load. */
export const KERNEL_PURGATORY: PurgatoryShape = { size: 0x6000, table: 0x4000, digest: 0x4100 };
/** kexec-tools'. */
export const KEXEC_TOOLS_PURGATORY: PurgatoryShape = { size: 0x9000, table: 0x5040, digest: 0x5020 };

/** What purgatory was told by its loader. Addresses are physical. */
export interface PurgatoryProgram {
  readonly table: bigint;
  readonly digest: bigint;
  readonly bootParams: bigint;
  /** What is copied before the capture kernel starts, and where to; kexec-tools only. */
  readonly backup: { readonly from: PhysicalRange; readonly to: bigint } | undefined;
}

const ENTRY = 0x40n;
/** "purgator", as a little-endian word: a machine that jumps elsewhere hangs. */
const MAGIC = 0x726f_7461_6772_7570n;
/** Up to here a purgatory is code; behind it is data, most of it zero. */
const CODE_END = 0x3000;
const WORDS = 7;

/** Where purgatory in a segment that starts at `start` is entered. */
export function purgatoryEntry(start: bigint): bigint {
  return start + ENTRY;
}

/**
 * Writes a purgatory whose digest covers `regions`, in their order, as they are in memory now.
 *
 * @param start - its segment's start.
 */
export function writePurgatory(
  memory: SparseMemory,
  sha256: Sha256,
  start: bigint,
  shape: PurgatoryShape,
  regions: readonly PhysicalRange[],
  rest: Pick<PurgatoryProgram, "bootParams" | "backup">,
): PurgatoryProgram {
  const program: PurgatoryProgram = {
    table: start + BigInt(shape.table),
    digest: start + BigInt(shape.digest),
    ...rest,
  };
  const bytes = new Uint8Array(shape.size);
  bytes.set(noise(CODE_END, 3));
  const { backup } = program;
  const words = [
    MAGIC,
    program.table,
    program.digest,
    program.bootParams,
    backup?.from.start ?? 0n,
    backup?.from.end ?? 0n,
    backup?.to ?? 0n,
  ];
  words.forEach((word, i) => bytes.set(u64Bytes(word), Number(ENTRY) + i * 8));
  const listed = regions.map((region) => ({
    address: region.start,
    size: Number(region.end - region.start),
  }));
  bytes.set(encodeRegions(listed), shape.table);
  memory.poke(start, bytes);
  memory.poke(program.digest, digestOver(memory, sha256, program.table));
  return program;
}

/** What the purgatory that is entered at `entry` was told; undefined where there is none. */
export function readPurgatory(memory: SparseMemory, entry: bigint): PurgatoryProgram | undefined {
  const bytes = memory.peek(entry, WORDS * 8);
  const word = (i: number): bigint => u64(bytes, i * 8);
  if (word(0) !== MAGIC) return undefined;
  const backup = word(5) === 0n ? undefined : { from: { start: word(4), end: word(5) }, to: word(6) };
  return { table: word(1), digest: word(2), bootParams: word(3), backup };
}

/** Purgatory's check (verify_sha256_digest in arch/x86/purgatory/purgatory.c). False: it spins for ever. */
export function passesCheck(memory: SparseMemory, sha256: Sha256, program: PurgatoryProgram): boolean {
  return equalBytes(digestOver(memory, sha256, program.table), memory.peek(program.digest, DIGEST_SIZE));
}

/** A region that no loader makes: a real purgatory would hash until it faults. */
const MAX_REGION = 1n << 30n;

function digestOver(memory: SparseMemory, sha256: Sha256, tableAddress: bigint): Uint8Array {
  const table = memory.peek(tableAddress, REGION_TABLE_SIZE);
  const hash = sha256();
  for (let i = 0; i < REGION_COUNT; i++) {
    const size = u64(table, i * 16 + 8);
    if (size > MAX_REGION) return new Uint8Array(0);
    hash.update(memory.peek(u64(table, i * 16), Number(size)));
  }
  return hash.digest();
}
