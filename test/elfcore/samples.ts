/** Small headers to change one thing in. */
import { buildCoreHeader } from "../../src/elfcore/build.ts";
import { encodeCoreHeader } from "../../src/elfcore/encode.ts";
import { PHDR_SIZE, EHDR_SIZE, type CoreHeader, type ProgramHeader } from "../../src/elfcore/header.ts";

export const PAGE_OFFSET = 0xffff_9e3a_0000_0000n;

/** Two CPU notes, VMCOREINFO, kernel text, a backup load, two RAM loads. */
export const sample: CoreHeader = buildCoreHeader({
  cpuNotes: [
    { paddr: 0x23fc_38600n, size: 368n },
    { paddr: 0x23fc_b8600n, size: 368n },
  ],
  vmcoreinfo: { paddr: 0x1_052f_0000n, size: 4132n },
  kernelText: { paddr: 0x1_1c00_0000n, vaddr: 0xffff_ffff_9c00_0000n, size: 0x342_d000n },
  ram: [
    { start: 0x1000n, end: 0x9_fc00n, fileOffset: 0x78f6_0000n },
    { start: 0x10_0000n, end: 0x6900_0000n },
    { start: 0x1_0000_0000n, end: 0x8_8000_0000n },
  ],
  pageOffset: PAGE_OFFSET,
});

/** Program header `index` of a header, which must be there. */
export function at(header: CoreHeader, index: number): ProgramHeader {
  const found = header.programHeaders[index];
  if (found === undefined) {
    throw new RangeError(`No program header ${index}`);
  }
  return found;
}

/** `header` with some fields of program header `index` replaced. */
export function withFields(header: CoreHeader, index: number, fields: Partial<ProgramHeader>): CoreHeader {
  const programHeaders = header.programHeaders.map((programHeader, place) =>
    place === index ? { ...programHeader, ...fields } : programHeader,
  );
  return { fileHeader: header.fileHeader, programHeaders };
}

/** The sample's bytes with some of them replaced. */
export function sampleBytes(patches: Readonly<Record<number, number>> = {}): Uint8Array {
  const bytes = encodeCoreHeader(sample);
  for (const [offset, byte] of Object.entries(patches)) {
    bytes[Number(offset)] = byte;
  }
  return bytes;
}

/** Offset of program header `index` in a core header. */
export function programHeaderOffset(index: number): number {
  return EHDR_SIZE + PHDR_SIZE * index;
}
