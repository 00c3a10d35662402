/** Files that look like /proc/kcore, made for tests. */
import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { buildCoreHeader } from "../../../src/elfcore/build.ts";
import { encodeCoreHeader } from "../../../src/elfcore/encode.ts";
import { EHDR_SIZE, PHDR_SIZE } from "../../../src/elfcore/header.ts";
import type { PhysicalRange } from "../../../src/layout/range.ts";

/** One program header of kcore. */
export interface KcoreEntry {
  readonly type: number;
  readonly offset: bigint;
  readonly vaddr: bigint;
  readonly paddr: bigint;
  readonly size: bigint;
}

/** `p_paddr` of what has no physical address. */
export const NOWHERE: bigint = (1n << 64n) - 1n;
export const PAGE_OFFSET = 0xffff_9e3a_0000_0000n;

/** The 64 bytes of an ELF64 core file of x86-64, with `count` program headers. */
export function fileHeader(count: number): Uint8Array {
  const place = { paddr: 0n, size: 1n };
  const header = buildCoreHeader({
    cpuNotes: [place],
    vmcoreinfo: place,
    kernelText: undefined,
    ram: [],
    pageOffset: 0n,
  });
  const bytes = encodeCoreHeader(header).slice(0, EHDR_SIZE);
  new DataView(bytes.buffer).setUint16(0x38, count, true);
  return bytes;
}

/** File header and program headers, as the kernel puts them in front (fs/proc/kcore.c). */
export function kcoreHeader(entries: readonly KcoreEntry[]): Uint8Array {
  const bytes = new Uint8Array(EHDR_SIZE + entries.length * PHDR_SIZE);
  bytes.set(fileHeader(entries.length));
  const view = new DataView(bytes.buffer);
  for (const [i, { type, offset, vaddr, paddr, size }] of entries.entries()) {
    const at = EHDR_SIZE + i * PHDR_SIZE;
    view.setUint32(at, type, true);
    for (const [field, value] of [offset, vaddr, paddr, size, size].entries())
      view.setBigUint64(at + 8 + field * 8, value, true);
  }
  return bytes;
}

/** A note named `name`. */
export function note(name: string, text: Uint8Array): Uint8Array {
  const nameSize = Math.ceil((name.length + 1) / 4) * 4;
  const bytes = new Uint8Array(12 + nameSize + Math.ceil(text.length / 4) * 4);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, name.length + 1, true);
  view.setUint32(4, text.length, true);
  bytes.set(Buffer.from(name, "latin1"), 12);
  bytes.set(text, 12 + nameSize);
  return bytes;
}

/** What {@link writeKcore} puts into a file. */
export interface KcoreContent {
  readonly ram: readonly PhysicalRange[];
  /** Where it is not all zeros; default: everywhere. */
  readonly written?: readonly PhysicalRange[];
  readonly read: (range: PhysicalRange) => Uint8Array;
  readonly notes: Uint8Array;
  /** Where data begins: the kernel moves it when there are more program headers. A multiple of the page size. */
  readonly dataOffset?: bigint;
}

const PAGE = 4096n;

/** Writes `content` to `path`, in place where it exists: whoever has it open sees it change. */
export function writeKcore(path: string, content: KcoreContent): void {
  const { ram, written = ram, read, notes, dataOffset = 4n * PAGE } = content;
  const entries: KcoreEntry[] = [
    { type: 4, offset: 2n * PAGE, vaddr: 0n, paddr: 0n, size: BigInt(notes.length) },
    // vmalloc has no physical address.
    { type: 1, offset: 1n << 45n, vaddr: 0xffff_c000_0000_0000n, paddr: NOWHERE, size: 1n << 40n },
    ...ram.map(({ start, end }) => ({
      type: 1,
      offset: dataOffset + start,
      vaddr: PAGE_OFFSET + start,
      paddr: start,
      size: end - start,
    })),
  ];
  closeSync(openSync(path, "a"));
  const file = openSync(path, "r+");
  try {
    ftruncateSync(file);
    put(file, kcoreHeader(entries), 0n);
    put(file, notes, 2n * PAGE);
    for (const range of written) put(file, read(range), dataOffset + range.start);
    ftruncateSync(file, Number(dataOffset + ram.at(-1)!.end));
  } finally {
    closeSync(file);
  }
}

function put(file: number, bytes: Uint8Array, at: bigint): void {
  writeSync(file, bytes, 0, bytes.length, Number(at));
}
