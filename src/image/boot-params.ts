/**
 * `struct boot_params` in a loaded image: the command line and the map of memory that the capture kernel starts with.
 *
 * Both loaders put it at the start of a segment of its own, with the command line behind it in the same segment
 * (bzImage64_load, arch/x86/kernel/kexec-bzimage64.c; do_bzImage64_load, kexec-tools kexec/arch/x86_64).
 */
import type { PhysicalRange } from "../layout/range.ts";
import { PAGE_SIZE, u32, u64, u64Bytes } from "./bytes.ts";
import { type CaptureCommandLine, COMMAND_LINE_SIZE } from "./command-line.ts";
import type { ImageSegment } from "./kimage.ts";
import type { PhysicalMemory } from "./memory.ts";

/** Offsets in `struct boot_params`, arch/x86/include/uapi/asm/bootparam.h and Documentation/arch/x86/zero-page.rst. */
const EXT_CMD_LINE_PTR = 0x0c8;
/** `e820_entries`, a u8. */
export const E820_ENTRIES_OFFSET = 0x1e8;
const HEADER = 0x202;
const CMD_LINE_PTR = 0x228;
const SETUP_DATA = 0x250;
/** `e820_table`. */
export const E820_TABLE_OFFSET = 0x2d0;
/** Bytes of a `struct boot_e820_entry`: u64 addr, u64 size, u32 type, packed. */
export const E820_ENTRY_SIZE = 20;
/** E820_MAX_ENTRIES_ZEROPAGE. */
export const E820_MAX = 128;
/** E820_TYPE_RAM. */
export const E820_RAM = 1;

/** "HdrS", as a little-endian u32. */
const MAGIC = 0x5372_6448;
/** SETUP_E820_EXT: the map goes on in there. */
const SETUP_E820_EXT = 1;
/** Bytes of the head of a `struct setup_data`: u64 next, u32 type, u32 len. */
const SETUP_DATA_HEAD = 16;
/** Loaders make three (EFI, IMA, RNG seed); a longer list is one that leads in circles. */
const MAX_SETUP_DATA = 16;
/** Segments that are larger hold a kernel or an initrd. */
const MAX_SEGMENT = 1024 * 1024;

/** One entry of the map of memory, as it stands there; `size` 0 and any type are possible. */
export interface E820Entry {
  readonly start: bigint;
  readonly size: bigint;
  readonly type: number;
}

/** Boot parameters that were found in an image. */
export interface BootParams {
  /** The segment that begins with them. */
  readonly segment: ImageSegment;
  /** All of that segment. */
  readonly bytes: Uint8Array;
  readonly commandLine: CaptureCommandLine;
  readonly map: readonly E820Entry[];
}

/**
 * The boot parameters in one of `segments`, or undefined where none begins with any that make sense: the command line
 * ends within its segment and within what a kernel reads of it, and the map has no more entries than there is room for.
 */
export async function findBootParams(
  memory: PhysicalMemory,
  segments: readonly ImageSegment[],
): Promise<BootParams | undefined> {
  const small = segments.filter(({ size }) => size > PAGE_SIZE && size <= MAX_SEGMENT);
  const heads = await Promise.all(
    small.map(async (segment) => ({ segment, head: await memory.read(segment.address + BigInt(HEADER), 4) })),
  );
  for (const { segment, head } of heads) {
    if (u32(head, 0) !== MAGIC) continue;
    const found = parseBootParams(segment, await memory.read(segment.address, segment.size));
    if (found) return found;
  }
  return undefined;
}

/** {@link findBootParams} for one segment, given its bytes. */
export function parseBootParams(segment: ImageSegment, bytes: Uint8Array): BootParams | undefined {
  if (bytes.length <= PAGE_SIZE || bytes.length !== segment.size || u32(bytes, HEADER) !== MAGIC)
    return undefined;
  const count = bytes[E820_ENTRIES_OFFSET]!;
  if (count > E820_MAX) return undefined;
  const pointer = (BigInt(u32(bytes, EXT_CMD_LINE_PTR)) << 32n) | BigInt(u32(bytes, CMD_LINE_PTR));
  const offset = pointer - segment.address;
  if (offset < BigInt(PAGE_SIZE) || offset >= BigInt(bytes.length)) return undefined;
  const line = bytes.subarray(Number(offset), Number(offset) + COMMAND_LINE_SIZE);
  const end = line.indexOf(0);
  if (end === -1) return undefined;
  return {
    segment,
    bytes,
    commandLine: { address: pointer, text: String.fromCharCode(...line.subarray(0, end)) },
    map: Array.from({ length: count }, (_, i) => entryAt(bytes, E820_TABLE_OFFSET + i * E820_ENTRY_SIZE)),
  };
}

function entryAt(bytes: Uint8Array, at: number): E820Entry {
  return { start: u64(bytes, at), size: u64(bytes, at + 8), type: u32(bytes, at + 16) };
}

/** The bytes of `map` as they stand in `e820_table`. */
export function encodeMap(map: readonly E820Entry[]): Uint8Array {
  const bytes = new Uint8Array(map.length * E820_ENTRY_SIZE);
  const view = new DataView(bytes.buffer);
  map.forEach(({ start, size, type }, i) => {
    const at = i * E820_ENTRY_SIZE;
    bytes.set(u64Bytes(start), at);
    bytes.set(u64Bytes(size), at + 8);
    view.setUint32(at + 16, type, true);
  });
  return bytes;
}

/** Whether `entry` has any address of `range`; an entry that leaves the address space has all behind its start. */
export function overlaps({ start, size }: E820Entry, range: PhysicalRange): boolean {
  return size > 0n && start < range.end && range.start < start + size;
}

/**
 * Why {@link BootParams.map} may not be all of the capture kernel's map, in words that complete "…, because …";
 * undefined where it is all.
 */
export async function mapContinuesElsewhere(
  memory: PhysicalMemory,
  segments: readonly ImageSegment[],
  { bytes, commandLine }: BootParams,
): Promise<string | undefined> {
  if (/(^|[\s"])memmap=/.test(commandLine.text))
    return "the capture kernel's command line has memmap=, which changes its map of memory";
  let next = u64(bytes, SETUP_DATA);
  for (let i = 0; next !== 0n; i++) {
    if (i === MAX_SETUP_DATA) return "the capture kernel's setup_data is a list without end";
    const end = next + BigInt(SETUP_DATA_HEAD);
    const inside = segments.some(({ address, size }) => address <= next && end <= address + BigInt(size));
    if (!inside)
      return `the capture kernel's setup_data leads to 0x${next.toString(16)}, outside of its image`;
    const head = await memory.read(next, SETUP_DATA_HEAD);
    if (u32(head, 8) === SETUP_E820_EXT)
      return "the capture kernel's map of memory goes on in its setup_data (SETUP_E820_EXT)";
    next = u64(head, 0);
  }
  return undefined;
}
