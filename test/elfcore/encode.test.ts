import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeCoreHeader } from "../../src/elfcore/decode.ts";
import { encodeCoreHeader } from "../../src/elfcore/encode.ts";
import { CoreHeaderError } from "../../src/elfcore/error.ts";
import { acceptedHeader } from "./arbitraries.ts";
import { at, programHeaderOffset, sample, withFields } from "./samples.ts";

describe("encodeCoreHeader", () => {
  test("gives 64 + 56 * n bytes that decode to the same header", () => {
    fc.assert(
      fc.property(acceptedHeader, (header) => {
        const bytes = encodeCoreHeader(header);
        expect(bytes).toHaveLength(64 + 56 * header.programHeaders.length);
        expect(decodeCoreHeader(bytes)).toEqual(header);
      }),
    );
  });

  test("lets e_phnum follow the program headers and keeps every other byte of the file header", () => {
    const fileHeader = Uint8Array.from({ length: 64 }, (_, index) => 255 - index);
    const bytes = encodeCoreHeader({ fileHeader, programHeaders: sample.programHeaders.slice(0, 3) });
    expect([bytes[0x38], bytes[0x39]]).toEqual([3, 0]);
    expect(bytes.subarray(0, 0x38)).toEqual(fileHeader.subarray(0, 0x38));
    expect(bytes.subarray(0x3a, 64)).toEqual(fileHeader.subarray(0x3a));
  });

  test("does not write into the header that it is given", () => {
    const fileHeader = sample.fileHeader.slice();
    encodeCoreHeader({ fileHeader, programHeaders: sample.programHeaders.slice(0, 1) });
    expect(fileHeader).toEqual(sample.fileHeader);
  });

  test("refuses a header without program headers, and one with more than e_phnum can say", () => {
    const one = at(sample, 0);
    const many = Array.from({ length: 0xffff }, () => one);
    const encode = (programHeaders: typeof many) => () =>
      encodeCoreHeader({ fileHeader: sample.fileHeader, programHeaders });
    expect(encode([])).toThrow("e_phnum at offset 0x38 is 0, expected 1 to 65534");
    expect(encode(many)).toThrow("e_phnum at offset 0x38 is 65535, expected 1 to 65534");
    expect(encode(many.slice(1))()).toHaveLength(64 + 56 * 65_534);
  });

  test("refuses a file header of another length", () => {
    const header = { ...sample, fileHeader: new Uint8Array(63) };
    expect(() => encodeCoreHeader(header)).toThrow(
      "file header at offset 0x0 is 63 bytes, expected 64 bytes",
    );
  });

  test.each(["p_offset", "p_vaddr", "p_paddr", "p_filesz", "p_memsz", "p_align"] as const)(
    "refuses a %s that would be stored cut short",
    (field) => {
      for (const value of [1n << 64n, -1n]) {
        const encode = () => encodeCoreHeader(withFields(sample, 2, { [field]: value }));
        expect(encode).toThrow(CoreHeaderError);
        expect(encode).toThrow(`${field} at offset`);
        expect(encode).toThrow("expected an unsigned 64-bit integer");
      }
    },
  );

  test.each(["p_type", "p_flags"] as const)("refuses a %s that would be stored cut short", (field) => {
    for (const value of [0x1_0000_0000, -1, 1.5, Number.NaN]) {
      const encode = () => encodeCoreHeader(withFields(sample, 2, { [field]: value }));
      expect(encode).toThrow("expected an unsigned 32-bit integer");
    }
  });

  test("says at which offset in the core header the field would lie", () => {
    const header = withFields(sample, 2, { p_memsz: 1n << 64n });
    const offset = programHeaderOffset(2) + 0x28;
    expect(() => encodeCoreHeader(header)).toThrow(
      expect.objectContaining({ field: "p_memsz", offset, found: "0x10000000000000000" }),
    );
  });
});
