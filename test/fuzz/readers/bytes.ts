/** Readers of what lies in a guest's memory: core header, digest table, command line, VMCOREINFO, struct kimage. */
import { decodeCoreHeader } from "../../../src/elfcore/decode.ts";
import { compareCoreHeaders } from "../../../src/elfcore/compare.ts";
import { encodeCoreHeader } from "../../../src/elfcore/encode.ts";
import { CoreHeaderError } from "../../../src/elfcore/error.ts";
import { type CoreHeader, EHDR_SIZE, PHDR_SIZE, PN_XNUM } from "../../../src/elfcore/header.ts";
import { kindsOf } from "../../../src/elfcore/kinds.ts";
import { equalBytes } from "../../../src/image/bytes.ts";
import {
  E820_MAX,
  E820_TABLE_OFFSET,
  encodeMap,
  overlaps,
  parseBootParams,
} from "../../../src/image/boot-params.ts";
import { elfcorehdrOf, findCommandLines, hasParameter } from "../../../src/image/command-line.ts";
import { parseKimage } from "../../../src/image/kimage.ts";
import { findDigest, findRegionTables, withRegionLast } from "../../../src/image/purgatory.ts";
import { numberOf, parseVmcoreInfo, symbolOf } from "../../../src/image/vmcoreinfo.ts";
import { compareWithLayout, describedMemory } from "../../../src/layout/described.ts";
import { LayoutError } from "../../../src/layout/error.ts";
import { RangeSet } from "../../../src/layout/range-set.ts";
import { wantedHeader } from "../../../src/layout/wanted.ts";
import { sample } from "../../elfcore/samples.ts";
import { type Form, FORMS, load } from "../../image/fake-loaders.ts";
import { CRASH, FakeKernel, KERNEL, le64, PLACES, STEXT, vmcoreinfoNote } from "../../image/fake-machine.ts";
import { bootLoads, dimm, headerOf, hot, layoutWith } from "../../layout/samples.ts";
import { bytesOf, type FuzzedReader, promise } from "../reader.ts";

const crash = RangeSet.of([CRASH]);
const inCrash = (start: bigint, size: number): boolean => crash.covers({ start, end: start + BigInt(size) });

/** The machine that the headers of the corpus describe, with two DIMMs that they lack. */
const layout = layoutWith([dimm(hot(0), "dimm0"), dimm(hot(3), "dimm1")]);

function isDescribable(header: CoreHeader): boolean {
  try {
    return describedMemory(header).bytes >= 0n;
  } catch (error) {
    if (error instanceof LayoutError) return false;
    throw error;
  }
}

const coreHeader: FuzzedReader = {
  name: "core-header",
  corpus: [
    encodeCoreHeader(sample),
    encodeCoreHeader(headerOf(bootLoads)),
    encodeCoreHeader(headerOf([...bootLoads, hot(0), hot(1), hot(7)])),
    encodeCoreHeader(headerOf(Array.from({ length: 200 }, (_, i) => hot(2 * i)))),
  ],
  dictionary: [
    le64(0xffff_ffff_8000_0000n),
    Uint8Array.of(1, 0, 0, 0, 7, 0, 0, 0),
    Uint8Array.of(4, 0, 0, 0, 0, 0, 0, 0),
    encodeCoreHeader(sample).subarray(0, EHDR_SIZE),
    encodeCoreHeader(sample).subarray(EHDR_SIZE + 6 * PHDR_SIZE, EHDR_SIZE + 7 * PHDR_SIZE),
  ],
  refusals: [CoreHeaderError, LayoutError],
  read: (input) => {
    const header = decodeCoreHeader(input);
    const encoded = encodeCoreHeader(header);
    promise(
      equalBytes(encoded, input.subarray(0, encoded.length)),
      "encoding what was decoded gives other bytes",
    );
    promise(
      kindsOf(header).length === header.programHeaders.length,
      "not every program header is of some kind",
    );
    promise(isDescribable(header), "a header was decoded that describes memory beyond 64 bits");
    const { missing } = compareWithLayout(header, layout);
    const wanted = wantedHeader(header, layout);
    const after = compareWithLayout(wanted, layout);
    promise(after.missing.isEmpty, `the header that should be lacks ${after.missing.toString()}`);
    promise(wanted.programHeaders.length < PN_XNUM, "the header that should be has too many program headers");
    promise(
      compareCoreHeaders(wanted, wantedHeader(wanted, layout)).equal,
      "the header that should be is not what it should be",
    );
    promise(
      missing.isEmpty || !compareCoreHeaders(header, wanted).equal,
      "memory is missing and nothing would change",
    );
  },
};

function imageBytes(form: Form): {
  readonly purgatory: Uint8Array;
  readonly line: Uint8Array;
  readonly kimage: Uint8Array;
  readonly bootParams: Uint8Array;
  readonly bootParamsAddress: bigint;
} {
  const kernel = new FakeKernel();
  const image = load(kernel, form);
  const { start, end } = image.segments.get("purgatory")!;
  const boot = image.segments.get("boot-params")!;
  return {
    purgatory: kernel.memory.peek(start, Number(end - start)),
    line: kernel.memory.peek(image.commandLineAddress - 0x40n, 0x200),
    kimage: kernel.memory.peek(PLACES.kimage, 576),
    bootParams: kernel.memory.peek(boot.start, Number(boot.end - boot.start)),
    bootParamsAddress: boot.start,
  };
}

const images = FORMS.map(imageBytes);

const digestTable: FuzzedReader = {
  name: "digest-table",
  corpus: images.map(({ purgatory }) => purgatory.slice(0x3c00, 0x6000)),
  dictionary: [
    le64(CRASH.start),
    le64(CRASH.end),
    le64(CRASH.end - 4096n),
    le64(4096n),
    Buffer.concat([le64(CRASH.start), le64(4096n)]),
  ],
  refusals: [],
  read: (input) => {
    for (const anchors of [undefined, [CRASH.start]]) {
      const tables = findRegionTables(input, CRASH.start, crash, anchors === undefined ? {} : { anchors });
      for (const { address, regions } of tables) {
        promise(inCrash(address, 256), "a region table lies outside of what was read");
        promise(regions.length === 16, `a region table has ${regions.length} entries`);
        for (const region of regions) {
          promise(
            region.size === 0 || inCrash(region.address, region.size),
            "a region leaves crash memory: it would be read for the hash",
          );
        }
        const last = withRegionLast(regions, regions[0]!.address);
        promise(last.length === 16, "putting a region last changes how many there are");
      }
    }
    const at = findDigest(input, CRASH.start, input.subarray(0, 32));
    promise(input.length < 32 || at === CRASH.start, "32 bytes are not found where they stand");
  },
};

const commandLine: FuzzedReader = {
  name: "command-line",
  corpus: [
    ...images.map(({ line }) => line),
    bytesOf("elfcorehdr=16K@0x3ec00000 acpi_no_memhotplug\0"),
    bytesOf("a elfcorehdr=1 elfcorehdr=0x77000000 quiet\0elfcorehdr=2G\0"),
  ],
  dictionary: [
    "elfcorehdr=",
    "0x",
    "@",
    "K",
    "G",
    " ",
    "\0",
    "\n",
    "18446744073709551615",
    "0xffffffffffffffffT",
  ].map(bytesOf),
  refusals: [],
  read: (input) => {
    let end = 0;
    for (const { offset, text } of findCommandLines(input)) {
      promise(text.includes("elfcorehdr="), "a command line without elfcorehdr=");
      promise(text.length <= 2048, `a command line of ${text.length} characters, x86 has 2048`);
      promise(offset + text.length <= input.length, "a command line beyond what was read");
      promise(offset + text.length >= end, "command lines go back");
      end = offset + text.length;
      const address = elfcorehdrOf(text);
      promise(address === undefined || address >= 0n, "a negative address");
      hasParameter(text, "acpi_no_memhotplug");
    }
  },
};

/** Boot parameters with their map of memory (e820). Segments have whole pages: inputs are padded to that. */
const bootParams: FuzzedReader = {
  name: "boot-params",
  corpus: images.map((image) => image.bootParams),
  dictionary: ["HdrS", "elfcorehdr=0x3ec00000", "\0", "\xff"].map(bytesOf),
  refusals: [],
  read: (input) => {
    const bytes = new Uint8Array(Math.ceil(input.length / 4096) * 4096);
    bytes.set(input);
    // Where the corpus has the segment, so that its pointers lead into it.
    for (const form of FORMS) {
      const address = bootParamsOf(form);
      const found = parseBootParams({ address, size: bytes.length }, bytes);
      if (found === undefined) continue;
      const { commandLine: line, map } = found;
      promise(map.length <= E820_MAX, `a map of ${map.length} entries`);
      const table = encodeMap(map);
      promise(
        equalBytes(table, bytes.subarray(E820_TABLE_OFFSET, E820_TABLE_OFFSET + table.length)),
        "encoding the map that was read gives other bytes",
      );
      const end = line.address + BigInt(line.text.length);
      promise(
        address + 4096n <= line.address && end < address + BigInt(bytes.length),
        "a command line beyond its segment",
      );
      promise(line.text.length < 2048, `a command line of ${line.text.length} characters`);
      for (const entry of map) overlaps(entry, CRASH);
    }
  },
};

function bootParamsOf(form: Form): bigint {
  return images[FORMS.indexOf(form)]!.bootParamsAddress;
}

const vmcoreinfo: FuzzedReader = {
  name: "vmcoreinfo",
  corpus: [
    vmcoreinfoNote("6.1.0-fake-amd64", STEXT, KERNEL),
    vmcoreinfoNote("6.12.0", STEXT, KERNEL).slice(0, 256),
  ],
  dictionary: [
    "OSRELEASE=",
    "SYMBOL(_stext)=",
    "NUMBER(phys_base)=",
    "=",
    "\n",
    "\0",
    "-",
    "ffffffffffffffff",
    "99999999999999999999",
    "__proto__=",
  ].map(bytesOf),
  refusals: [],
  read: (input) => {
    const info = parseVmcoreInfo(PLACES.note, input);
    if (info === undefined) return;
    promise(/^[\x21-\x7e]{1,64}$/.test(info.release), "a release that is not printable");
    for (const name of ["_stext", "__proto__"]) {
      const symbol = symbolOf(info, name);
      promise(symbol === undefined || (symbol >= 0n && symbol < 1n << 64n), "a symbol beyond 64 bits");
    }
    numberOf(info, "phys_base");
  },
};

const kimage: FuzzedReader = {
  name: "kimage",
  corpus: images.map((image) => image.kimage),
  dictionary: [
    le64(CRASH.start),
    le64(CRASH.end),
    le64(16n),
    le64(17n),
    le64(4096n),
    le64((1n << 64n) - CRASH.start),
  ],
  refusals: [],
  read: (input) => {
    // The reader of memory asks for its span or fails; shorter bytes never reach this function.
    if (input.length < 64) return;
    const image = parseKimage(PLACES.kimage, input, crash);
    if (image === undefined) return;
    promise(image.segments.length >= 1 && image.segments.length <= 16, "an impossible number of segments");
    for (const { address, size } of image.segments)
      promise(inCrash(address, size), "a segment leaves crash memory: it may be written to");
    promise(
      image.segments.some(
        ({ address, size }) => address <= image.entry && image.entry < address + BigInt(size),
      ),
      "the purgatory's entry is in no segment",
    );
  },
};

export const BYTE_READERS: readonly FuzzedReader[] = [
  coreHeader,
  digestTable,
  commandLine,
  bootParams,
  vmcoreinfo,
  kimage,
];
