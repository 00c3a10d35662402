/** Arbitrary program headers and core headers for property tests. */
import * as fc from "fast-check";
import { buildFileHeader } from "../../src/elfcore/build.ts";
import { MAX_NOTE_SIZE } from "../../src/elfcore/decode.ts";
import { ADDRESS_LIMIT } from "../../src/elfcore/fields.ts";
import { PT_LOAD, PT_NOTE, type CoreHeader, type ProgramHeader } from "../../src/elfcore/header.ts";

const u64 = fc.bigInt({ min: 0n, max: ADDRESS_LIMIT - 1n });
const u32 = fc.nat({ max: 0xffff_ffff });

/** Any values that fit the fields. */
export const anyProgramHeader: fc.Arbitrary<ProgramHeader> = fc.record({
  p_type: fc.oneof(fc.constantFrom(PT_LOAD, PT_NOTE), u32),
  p_flags: u32,
  p_offset: u64,
  p_vaddr: u64,
  p_paddr: u64,
  p_filesz: u64,
  p_memsz: u64,
  p_align: u64,
});

const note: fc.Arbitrary<ProgramHeader> = extent(fc.constant(PT_NOTE), 1n, MAX_NOTE_SIZE);
const load: fc.Arbitrary<ProgramHeader> = extent(fc.constant(PT_LOAD), 0n, ADDRESS_LIMIT);
const unknown: fc.Arbitrary<ProgramHeader> = anyProgramHeader.filter(
  ({ p_type }) => p_type !== PT_LOAD && p_type !== PT_NOTE,
);

/** Any header that the kernel accepts: notes first, nothing that passes 2^64, all else as it likes. */
export const acceptedHeader: fc.Arbitrary<CoreHeader> = fc
  .record({
    notes: fc.array(note, { minLength: 1, maxLength: 6 }),
    others: fc.array(fc.oneof(load, unknown), { maxLength: 12 }),
    entry: fc.uint8Array({ minLength: 16, maxLength: 16 }),
    tail: fc.uint8Array({ minLength: 6, maxLength: 6 }),
  })
  .map(({ notes, others, entry, tail }) => {
    const programHeaders = [...notes, ...others];
    const fileHeader = buildFileHeader(programHeaders.length);
    fileHeader.set(entry, 0x18); // e_entry and e_phoff, which the kernel does not look at
    fileHeader.set(tail, 0x3a); // e_shentsize, e_shnum, e_shstrndx likewise
    return { fileHeader, programHeaders };
  });

function extent(p_type: fc.Arbitrary<number>, min: bigint, max: bigint): fc.Arbitrary<ProgramHeader> {
  const limit = max < ADDRESS_LIMIT ? max : ADDRESS_LIMIT - 1n;
  return fc
    .record({
      p_type,
      p_flags: u32,
      p_offset: u64,
      p_vaddr: u64,
      p_paddr: u64,
      p_filesz: fc.bigInt({ min: 0n, max: limit }),
      p_memsz: fc.bigInt({ min, max: limit }),
      p_align: u64,
    })
    .map((header) => {
      const size = header.p_filesz > header.p_memsz ? header.p_filesz : header.p_memsz;
      const room = ADDRESS_LIMIT - size;
      return {
        ...header,
        p_offset: header.p_offset < room ? header.p_offset : room % ADDRESS_LIMIT,
        p_paddr: header.p_paddr < room ? header.p_paddr : room % ADDRESS_LIMIT,
      };
    });
}
