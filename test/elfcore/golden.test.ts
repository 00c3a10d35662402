/**
 * Byte for byte what real loaders write. The files in golden/ come from the kernel's and kexec-tools' own functions
 * run over the inputs below, outside this project.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import {
  buildCoreHeader,
  kernelBufferSize,
  kexecToolsBufferSize,
  type CoreHeaderInput,
  type NoteLocation,
  type RamRange,
} from "../../src/elfcore/build.ts";
import { compareCoreHeaders } from "../../src/elfcore/compare.ts";
import { decodeCoreHeader } from "../../src/elfcore/decode.ts";
import { encodeCoreHeader } from "../../src/elfcore/encode.ts";
import { inclusiveRange } from "../../src/layout/range.ts";
import { RangeSet } from "../../src/layout/range-set.ts";

const POSSIBLE_CPUS = 4;
const PRESENT_CPUS = 2;

const crash = inclusiveRange(0x6900_0000n, 0x78ff_ffffn);
const lowMegabyte = inclusiveRange(0n, 0xf_ffffn);
const lowRam = inclusiveRange(0x1000n, 0x9_fbffn);
const bootRam = [
  lowRam,
  inclusiveRange(0x10_0000n, 0x7ffd_9fffn),
  inclusiveRange(0x1_0000_0000n, 0x8_7fff_ffffn),
];
const dimms = [
  inclusiveRange(0x8_8000_0000n, 0x8_bfff_ffffn),
  inclusiveRange(0x8_c000_0000n, 0x8_ffff_ffffn),
];

const common = {
  vmcoreinfo: { paddr: 0x1_052f_0000n, size: 0x1024n },
  kernelText: { paddr: 0x1_1c00_0000n, vaddr: 0xffff_ffff_9c00_0000n, size: 0x342_d000n },
  pageOffset: 0xffff_9e3a_0000_0000n,
};

function notesOf(cpus: number): readonly NoteLocation[] {
  return Array.from({ length: cpus }, (_, cpu) => ({
    paddr: 0x2_3fc3_8600n + BigInt(cpu) * 0x8_0000n,
    size: 0x170n,
  }));
}

function kernelForm(cpus: number, hotAdded: readonly RamRange[]): CoreHeaderInput {
  const ram = RangeSet.of(bootRam).subtract(RangeSet.of([lowMegabyte, crash]));
  // Each DIMM is a resource of its own, so the kernel lists each by itself.
  return { ...common, cpuNotes: notesOf(cpus), ram: [...ram, ...hotAdded] };
}

function kexecToolsForm(): CoreHeaderInput {
  const ram = RangeSet.of(bootRam).subtract(RangeSet.of([crash]));
  const withBackup = Array.from(ram, (range) =>
    range.start === lowRam.start ? { ...range, fileOffset: 0x78f6_0000n } : range,
  );
  return { ...common, cpuNotes: notesOf(PRESENT_CPUS), ram: withBackup };
}

const vectors = [
  {
    file: "kernel-5.10-base.bin",
    input: kernelForm(PRESENT_CPUS, []),
    size: kernelBufferSize({ cpus: POSSIBLE_CPUS, ranges: 3 }),
    sha256: "bd336c22529b5b94b5e1ac05f137de7387cb608c4f8f7aea11a7fc06b14e4109",
    phnum: 7,
  },
  {
    file: "kernel-5.10-plus-2-dimms.bin",
    input: kernelForm(PRESENT_CPUS, dimms),
    size: kernelBufferSize({ cpus: POSSIBLE_CPUS, ranges: 5 }),
    sha256: "0be4b4bed6b5b14ee728f945e86fc328a5c20630238d3802c80b7956f1806d2b",
    phnum: 9,
  },
  {
    file: "kernel-6.6-base.bin",
    input: kernelForm(POSSIBLE_CPUS, []),
    size: kernelBufferSize({ cpus: POSSIBLE_CPUS, ranges: 3 }),
    sha256: "798d1899cb3347bcd252d77e5f1d7def12bc3279b0b581f517b1ba62061f1494",
    phnum: 9,
  },
  {
    file: "kernel-6.6-plus-2-dimms.bin",
    input: kernelForm(POSSIBLE_CPUS, dimms),
    size: kernelBufferSize({ cpus: POSSIBLE_CPUS, ranges: 5 }),
    sha256: "8521e97b811230cf5c7226e95d4d7e2f9bb95d94192170455c526e05b102d07b",
    phnum: 11,
  },
  {
    file: "kexec-tools-base.bin",
    input: kexecToolsForm(),
    size: kexecToolsBufferSize(8),
    sha256: "6c54cb6fa3249bd54a279d306c6cccbc01fe3fd54373c760bc5fe89e685ad339",
    phnum: 8,
  },
];

describe.each(vectors)("$file", ({ file, input, size, sha256, phnum }) => {
  const read = async (): Promise<Uint8Array> =>
    Uint8Array.from(await readFile(new URL(`golden/${file}`, import.meta.url)));

  test("is the file that was documented", async () => {
    expect(
      createHash("sha256")
        .update(await read())
        .digest("hex"),
    ).toBe(sha256);
  });

  test("comes out identical from its inputs, padded to the loader's buffer", async () => {
    const header = buildCoreHeader(input);
    const buffer = new Uint8Array(size);
    buffer.set(encodeCoreHeader(header));
    expect(header.programHeaders).toHaveLength(phnum);
    expect(buffer).toEqual(await read());
    expect(createHash("sha256").update(buffer).digest("hex")).toBe(sha256);
  });

  test("decodes to what it was built from and encodes to the same bytes", async () => {
    const bytes = await read();
    const decoded = decodeCoreHeader(bytes);
    expect(decoded).toEqual(buildCoreHeader(input));
    expect(compareCoreHeaders(decoded, buildCoreHeader(input)).equal).toBe(true);
    expect(encodeCoreHeader(decoded)).toEqual(bytes.subarray(0, 64 + 56 * phnum));
  });
});
