/** The VMCOREINFO note: what a kernel says of itself to those who read its memory. */
import { textUntilNul, u32 } from "./bytes.ts";
import type { PhysicalMemory } from "./memory.ts";

/** Bytes of a VMCOREINFO note: header 12, padded name 12, text up to 4096, terminator 12 (VMCOREINFO_NOTE_SIZE). */
export const VMCOREINFO_NOTE_SIZE = 4132;
const TEXT_OFFSET = 24;
const TEXT_MAX = 4096;

/** A kernel's VMCOREINFO, read from its note. */
export interface VmcoreInfo {
  /** Physical address of the note. */
  readonly address: bigint;
  /** `OSRELEASE`: what `uname -r` prints. */
  readonly release: string;
  /** Every `KEY=VALUE` line, last one wins. */
  readonly entries: ReadonlyMap<string, string>;
}

/** The VMCOREINFO note at physical `address`, or undefined where its bytes are not one. */
export async function readVmcoreInfo(
  memory: PhysicalMemory,
  address: bigint,
): Promise<VmcoreInfo | undefined> {
  return parseVmcoreInfo(address, await memory.read(address, VMCOREINFO_NOTE_SIZE));
}

/** The VMCOREINFO note in `bytes`, which were read at `address`; undefined where they are not one. */
export function parseVmcoreInfo(address: bigint, bytes: Uint8Array): VmcoreInfo | undefined {
  if (bytes.length < TEXT_OFFSET || u32(bytes, 0) !== 11) return undefined;
  const length = u32(bytes, 4);
  if (length === 0 || length > TEXT_MAX || textUntilNul(bytes.subarray(12, 23)) !== "VMCOREINFO")
    return undefined;
  const entries = new Map<string, string>();
  for (const line of textUntilNul(bytes.subarray(TEXT_OFFSET, TEXT_OFFSET + length)).split("\n")) {
    const equals = line.indexOf("=");
    if (equals > 0) entries.set(line.slice(0, equals), line.slice(equals + 1));
  }
  const release = entries.get("OSRELEASE");
  return release === undefined || !/^[\x21-\x7e]{1,64}$/.test(release)
    ? undefined
    : { address, release, entries };
}

/** `SYMBOL(name)`: a virtual address, written in hex without a prefix. */
export function symbolOf(info: VmcoreInfo, name: string): bigint | undefined {
  const text = info.entries.get(`SYMBOL(${name})`);
  return text !== undefined && /^[0-9a-f]{1,16}$/i.test(text) ? BigInt(`0x${text}`) : undefined;
}

/** `NUMBER(name)`: a signed decimal. */
export function numberOf(info: VmcoreInfo, name: string): bigint | undefined {
  const text = info.entries.get(`NUMBER(${name})`);
  return text !== undefined && /^-?\d{1,20}$/.test(text) ? BigInt(text) : undefined;
}
