import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeCoreHeader, programHeaderCount } from "../../src/elfcore/decode.ts";
import { encodeCoreHeader } from "../../src/elfcore/encode.ts";
import { CoreHeaderError } from "../../src/elfcore/error.ts";
import { PT_LOAD, type CoreHeader, type ProgramHeader } from "../../src/elfcore/header.ts";
import { acceptedHeader } from "./arbitraries.ts";
import { at, programHeaderOffset, sample, sampleBytes, withFields } from "./samples.ts";

const COUNT = sample.programHeaders.length;

function arranged(...programHeaders: readonly ProgramHeader[]): CoreHeader {
  return { fileHeader: sample.fileHeader, programHeaders };
}

/** What is thrown for `bytes`, whatever it is; undefined where they are accepted. */
function thrownFor(bytes: Uint8Array): unknown {
  try {
    decodeCoreHeader(bytes);
  } catch (error) {
    return error;
  }
  return undefined;
}

function errorOf(bytes: Uint8Array): CoreHeaderError {
  const error = thrownFor(bytes);
  if (!(error instanceof CoreHeaderError)) {
    throw new TypeError(`Expected a CoreHeaderError, got ${String(error)}`);
  }
  return error;
}

/** Accepted and encoded to the same bytes, or refused with the one error that may be. */
function acceptedOrExplained(bytes: Uint8Array): boolean {
  const error = thrownFor(bytes);
  if (error !== undefined) {
    return error instanceof CoreHeaderError;
  }
  const encoded = encodeCoreHeader(decodeCoreHeader(bytes));
  return encoded.every((byte, offset) => byte === bytes[offset]);
}

describe("decodeCoreHeader", () => {
  test("throws nothing but CoreHeaderError on arbitrary bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        expect(acceptedOrExplained(bytes)).toBe(true);
      }),
    );
  });

  test("throws nothing but CoreHeaderError on valid headers with bytes changed or cut off", () => {
    const mutation = fc.record({ offset: fc.nat({ max: 64 + 56 * COUNT - 1 }), byte: fc.nat({ max: 255 }) });
    fc.assert(
      fc.property(
        fc.array(mutation, { minLength: 1, maxLength: 4 }),
        fc.option(fc.nat({ max: 64 + 56 * COUNT }), { freq: 4, nil: undefined }),
        (mutations, length) => {
          const bytes = sampleBytes();
          for (const { offset, byte } of mutations) {
            bytes[offset] = byte;
          }
          expect(acceptedOrExplained(bytes.subarray(0, length))).toBe(true);
        },
      ),
      { numRuns: 2000 },
    );
  });

  test("ignores what follows the last program header, and where in its buffer the header lies", () => {
    fc.assert(
      fc.property(acceptedHeader, fc.nat({ max: 9 }), fc.uint8Array(), (header, offset, tail) => {
        const bytes = encodeCoreHeader(header);
        const buffer = new Uint8Array(offset + bytes.length + tail.length);
        buffer.set(bytes, offset);
        buffer.set(tail, offset + bytes.length);
        expect(decodeCoreHeader(buffer.subarray(offset))).toEqual(header);
      }),
    );
  });

  test("shares no memory with the buffer", () => {
    const bytes = sampleBytes();
    const decoded = decodeCoreHeader(bytes);
    bytes.fill(0);
    expect(decoded).toEqual(decodeCoreHeader(sampleBytes()));
  });

  test("names each field of the file header that is wrong, where it is and what it should be", () => {
    const cases: readonly (readonly [number, number, string])[] = [
      [0x00, 0x7e, "magic at offset 0x0 is 0x7e454c46, expected 0x7f454c46 (ELFMAG)"],
      [0x04, 1, "EI_CLASS at offset 0x4 is 0x1, expected 0x2 (ELFCLASS64)"],
      [0x05, 2, "EI_DATA at offset 0x5 is 0x2, expected 0x1 (ELFDATA2LSB)"],
      [0x06, 0, "EI_VERSION at offset 0x6 is 0x0, expected 0x1 (EV_CURRENT)"],
      [0x10, 2, "e_type at offset 0x10 is 0x2, expected 0x4 (ET_CORE)"],
      [0x12, 183, "e_machine at offset 0x12 is 0xb7, expected 0x3e (EM_X86_64)"],
      [0x17, 1, "e_version at offset 0x14 is 0x1000001, expected 0x1 (EV_CURRENT)"],
      [0x34, 52, "e_ehsize at offset 0x34 is 0x34, expected 0x40 (sizeof(Elf64_Ehdr))"],
      [0x36, 32, "e_phentsize at offset 0x36 is 0x20, expected 0x38 (sizeof(Elf64_Phdr))"],
      [0x38, 0, "e_phnum at offset 0x38 is 0, expected 1 to 65534"],
    ];
    for (const [offset, byte, message] of cases) {
      const error = errorOf(sampleBytes({ [offset]: byte }));
      expect(error.message).toBe(`Cannot decode the core header: ${message}`);
    }
    const manyBytes = sampleBytes({ 0x38: 0xff, 0x39: 0xff });
    expect(errorOf(manyBytes).message).toContain("e_phnum at offset 0x38 is 65535, expected 1 to 65534");
  });

  test("rejects a header of the other byte order", () => {
    const bytes = sampleBytes({ 0x05: 2, 0x10: 0, 0x11: 4, 0x12: 0, 0x13: 62 });
    expect(errorOf(bytes).field).toBe("EI_DATA");
  });

  test("rejects a buffer that ends before e_phnum says, at every length", () => {
    const bytes = sampleBytes();
    for (let length = 0; length < bytes.length; length++) {
      const error = errorOf(bytes.subarray(0, length));
      expect(error.field).toBe("buffer");
      expect(error.found).toBe(`${length} bytes`);
    }
    const beyond = errorOf(sampleBytes({ 0x38: COUNT + 1 }));
    expect(beyond.expected).toBe(`at least ${64 + 56 * (COUNT + 1)} bytes for e_phnum ${COUNT + 1}`);
  });

  test("accepts a file header whose e_phoff, e_entry and section fields lead nowhere, and keeps them", () => {
    const bytes = sampleBytes({ 0x07: 3, 0x18: 1, 0x21: 0xff, 0x28: 9, 0x30: 8, 0x3a: 7, 0x3f: 6 });
    expect(encodeCoreHeader(decodeCoreHeader(bytes))).toEqual(bytes);
  });

  test("rejects a header whose first program header is no note", () => {
    const error = errorOf(encodeCoreHeader(arranged(at(sample, 3), at(sample, 0))));
    expect(error).toMatchObject({ field: "program header 0: p_type", offset: 64, found: "0x1" });
  });

  test("rejects notes after loads, and after unknown program headers", () => {
    const unknown = { ...at(sample, 0), p_type: 0x6fff_fff0 };
    for (const other of [at(sample, 3), unknown]) {
      const error = errorOf(encodeCoreHeader(arranged(at(sample, 0), other, at(sample, 1))));
      expect(error).toMatchObject({
        field: "program header 2: p_type",
        offset: programHeaderOffset(2),
        expected: "no note after program header 1, which is none",
      });
    }
  });

  test("accepts a header of notes alone", () => {
    const header = arranged(at(sample, 0), at(sample, 2));
    expect(decodeCoreHeader(encodeCoreHeader(header)).programHeaders).toEqual(header.programHeaders);
  });

  test.each([0, 3, 4, 5])(
    "rejects program header %i where it passes 2^64, and accepts it up to there",
    (index) => {
      const size = at(sample, index).p_memsz;
      const highest = (1n << 64n) - size;
      for (const field of ["p_offset", "p_paddr"] as const) {
        const fits = encodeCoreHeader(withFields(sample, index, { [field]: highest }));
        expect(encodeCoreHeader(decodeCoreHeader(fits))).toEqual(fits);
        const error = errorOf(encodeCoreHeader(withFields(sample, index, { [field]: highest + 1n })));
        expect(error.field).toBe(`program header ${index}: ${field}`);
        expect(error.offset).toBe(programHeaderOffset(index) + (field === "p_offset" ? 0x08 : 0x18));
      }
      const tooLong = encodeCoreHeader(withFields(sample, index, { p_filesz: (1n << 64n) - 1n }));
      expect(errorOf(tooLong).field).toBe(`program header ${index}: p_offset`);
    },
  );

  test("rejects notes of no size and of more than 4 MiB, which the capture kernel cannot copy", () => {
    for (const p_memsz of [0n, 0x40_0001n]) {
      const error = errorOf(encodeCoreHeader(withFields(sample, 1, { p_memsz })));
      expect(error.field).toBe("program header 1: p_memsz");
      expect(error.expected).toBe("0x1 to 0x400000 for a PT_NOTE");
    }
    const largest = encodeCoreHeader(withFields(sample, 1, { p_memsz: 0x40_0000n }));
    expect(at(decodeCoreHeader(largest), 1).p_memsz).toBe(0x40_0000n);
  });

  test("accepts loads that are unsorted, overlapping, doubled, empty or odd, and keeps them", () => {
    const ram = at(sample, 5);
    const header = arranged(
      at(sample, 0),
      at(sample, 6),
      ram,
      ram,
      { ...ram, p_paddr: ram.p_paddr + 1n, p_offset: 3n },
      { ...ram, p_memsz: 0n, p_filesz: 7n, p_flags: 0, p_align: 4096n },
    );
    const bytes = encodeCoreHeader(header);
    expect(decodeCoreHeader(bytes).programHeaders).toEqual(header.programHeaders);
    expect(encodeCoreHeader(decodeCoreHeader(bytes))).toEqual(bytes);
  });

  test("keeps unknown program headers as they are, whatever their fields say", () => {
    const all = (1n << 64n) - 1n;
    const unknown = { ...at(sample, 3), p_type: 0x7000_0001, p_offset: all, p_paddr: all, p_memsz: all };
    const header = arranged(at(sample, 0), unknown, at(sample, 5), { ...unknown, p_type: 0 });
    expect(decodeCoreHeader(encodeCoreHeader(header)).programHeaders).toEqual(header.programHeaders);
  });

  test("decodes 8192 RAM loads", () => {
    const loads = Array.from({ length: 8192 }, (_, index) => ({
      ...at(sample, 5),
      p_type: PT_LOAD,
      p_paddr: BigInt(index) << 30n,
    }));
    const header = arranged(at(sample, 0), ...loads);
    expect(decodeCoreHeader(encodeCoreHeader(header)).programHeaders).toEqual(header.programHeaders);
  });
});

describe("programHeaderCount", () => {
  test("needs the file header alone", () => {
    expect(programHeaderCount(sampleBytes().subarray(0, 64))).toBe(COUNT);
  });

  test("refuses less than 64 bytes", () => {
    expect(() => programHeaderCount(sampleBytes().subarray(0, 63))).toThrow(
      "buffer at offset 0x0 is 63 bytes, expected at least 64 bytes",
    );
  });
});
