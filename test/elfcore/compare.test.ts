import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compareCoreHeaders } from "../../src/elfcore/compare.ts";
import { encodeCoreHeader } from "../../src/elfcore/encode.ts";
import type { CoreHeader } from "../../src/elfcore/header.ts";
import { acceptedHeader } from "./arbitraries.ts";
import { at, sample, withFields } from "./samples.ts";

const same = { equal: true, fileHeaderChanged: false, reordered: false, added: [], removed: [], changed: [] };

function withPrograms(programHeaders: CoreHeader["programHeaders"]): CoreHeader {
  return { ...sample, programHeaders };
}

describe("compareCoreHeaders", () => {
  test("finds a header equal to itself", () => {
    fc.assert(
      fc.property(acceptedHeader, (header) => {
        expect(compareCoreHeaders(header, header)).toEqual(same);
      }),
    );
  });

  test("says equal exactly where the bytes are equal", () => {
    const pick = fc.shuffledSubarray([...sample.programHeaders, at(sample, 5)], { minLength: 1 });
    fc.assert(
      fc.property(pick, pick, (first, second) => {
        const [a, b] = [withPrograms(first), withPrograms(second)];
        const bytesEqual = Buffer.compare(encodeCoreHeader(a), encodeCoreHeader(b)) === 0;
        expect(compareCoreHeaders(a, b).equal).toBe(bytesEqual);
      }),
    );
  });

  test("tells what was added and removed, and where", () => {
    const shorter = withPrograms(sample.programHeaders.slice(0, 6));
    const entry = { kind: "ram", index: 6, programHeader: at(sample, 6) };
    expect(compareCoreHeaders(shorter, sample)).toEqual({ ...same, equal: false, added: [entry] });
    expect(compareCoreHeaders(sample, shorter)).toEqual({ ...same, equal: false, removed: [entry] });
  });

  test("tells what has grown as a change", () => {
    const grown = withFields(sample, 6, { p_memsz: 1n << 40n, p_filesz: 1n << 40n });
    const changed = [{ kind: "ram", before: at(sample, 6), after: at(grown, 6) }];
    expect(compareCoreHeaders(sample, grown)).toEqual({ ...same, equal: false, changed });
  });

  test("takes VMCOREINFO and kernel text that moved for changes", () => {
    const moved = withFields(withFields(sample, 2, { p_paddr: 1n }), 3, { p_paddr: 2n });
    const difference = compareCoreHeaders(sample, moved);
    expect(difference.changed.map(({ kind }) => kind)).toEqual(["vmcoreinfo-note", "kernel-text"]);
    expect(difference.added).toEqual([]);
  });

  test("sees that the order changed", () => {
    const [a, b] = [at(sample, 5), at(sample, 6)];
    const swapped = withPrograms([...sample.programHeaders.slice(0, 5), b, a]);
    expect(compareCoreHeaders(sample, swapped)).toEqual({ ...same, equal: false, reordered: true });
  });

  test("sees a file header that differs, but not by its e_phnum", () => {
    const fileHeader = sample.fileHeader.slice();
    fileHeader[0x38] = 99;
    expect(compareCoreHeaders(sample, { ...sample, fileHeader }).equal).toBe(true);
    fileHeader[0x30] = 1;
    const difference = compareCoreHeaders(sample, { ...sample, fileHeader });
    expect(difference).toEqual({ ...same, equal: false, fileHeaderChanged: true });
  });
});
