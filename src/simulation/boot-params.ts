/** `struct boot_params` of the capture kernel: its command line and its map of memory (e820). */
import { textUntilNul, u32, u64, u64Bytes } from "../image/bytes.ts";
import type { PhysicalRange } from "../layout/range.ts";
import { RangeSet } from "../layout/range-set.ts";
import { latin1 } from "./bytes.ts";
import type { SparseMemory } from "./memory.ts";

/** Offsets of arch/x86/include/uapi/asm/bootparam.h. */
const FIELD = {
  extCmdLinePtr: 0x0c8,
  e820Entries: 0x1e8,
  header: 0x202,
  cmdLinePtr: 0x228,
  e820Table: 0x2d0,
} as const;
const E820_ENTRY = 20;
const E820_MAX = 128;
const E820_RAM = 1;
/** The command line follows `struct boot_params`, which has a page. */
const COMMAND_LINE = 0x1000n;
/** COMMAND_LINE_SIZE of x86. */
export const COMMAND_LINE_SIZE = 2048;

/** What a capture kernel is started with. */
export interface BootParams {
  readonly commandLine: string;
  /** Memory that it takes for its own. */
  readonly ram: RangeSet;
}

/** Writes boot parameters and command line into the segment at `start`. */
export function writeBootParams(
  memory: SparseMemory,
  start: bigint,
  commandLine: string,
  ram: readonly PhysicalRange[],
): void {
  const bytes = new Uint8Array(Number(COMMAND_LINE));
  const view = new DataView(bytes.buffer);
  bytes.set(latin1("HdrS"), FIELD.header);
  const line = start + COMMAND_LINE;
  view.setUint32(FIELD.cmdLinePtr, Number(line & 0xffff_ffffn), true);
  view.setUint32(FIELD.extCmdLinePtr, Number(line >> 32n), true);
  view.setUint8(FIELD.e820Entries, ram.length);
  ram.forEach((range, i) => {
    const at = FIELD.e820Table + i * E820_ENTRY;
    bytes.set(u64Bytes(range.start), at);
    bytes.set(u64Bytes(range.end - range.start), at + 8);
    view.setUint32(at + 16, E820_RAM, true);
  });
  memory.poke(start, bytes);
  memory.poke(line, latin1(`${commandLine}\0`));
}

/** The boot parameters at `start`, as a kernel reads them; undefined where there are none. */
export function readBootParams(memory: SparseMemory, start: bigint): BootParams | undefined {
  const bytes = memory.peek(start, Number(COMMAND_LINE));
  if (u32(bytes, FIELD.header) !== u32(latin1("HdrS"), 0)) return undefined;
  const line = (BigInt(u32(bytes, FIELD.extCmdLinePtr)) << 32n) | BigInt(u32(bytes, FIELD.cmdLinePtr));
  const ram: PhysicalRange[] = [];
  for (let i = 0; i < Math.min(bytes[FIELD.e820Entries]!, E820_MAX); i++) {
    const at = FIELD.e820Table + i * E820_ENTRY;
    const rangeStart = u64(bytes, at);
    const size = u64(bytes, at + 8);
    if (u32(bytes, at + 16) === E820_RAM && size > 0n && rangeStart + size <= 1n << 64n)
      ram.push({ start: rangeStart, end: rangeStart + size });
  }
  return { commandLine: textUntilNul(memory.peek(line, COMMAND_LINE_SIZE)), ram: RangeSet.of(ram) };
}
