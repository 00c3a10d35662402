/** Readers of a copied tree's files: somebody else's kcore and kallsyms. */
import { kcorePieces, parseKcore, vmcoreinfoIn } from "../../../src/targets/local/kcore-elf.ts";
import { LocalError } from "../../../src/targets/local/error.ts";
import { SymbolSearch } from "../../../src/targets/local/kallsyms.ts";
import { le64 } from "../../image/fake-machine.ts";
import { kcoreHeader, note, NOWHERE, PAGE_OFFSET } from "../../targets/local/kcore-file.ts";
import { bytesOf, type FuzzedReader, promise } from "../reader.ts";

const load = (start: bigint, size: bigint): Parameters<typeof kcoreHeader>[0][number] => ({
  type: 1,
  offset: 0x4000n + start,
  vaddr: PAGE_OFFSET + start,
  paddr: start,
  size,
});

const kcore: FuzzedReader = {
  name: "kcore",
  corpus: [
    kcoreHeader([load(0x1000n, 0x9_e000n), load(0x10_0000n, 0x3fee_0000n)]),
    kcoreHeader([{ ...load(0n, 1n << 40n), paddr: NOWHERE }, load(0x1000n, 0x1000n), load(0x2000n, 1n)]),
    kcoreHeader(Array.from({ length: 100 }, (_, i) => load(BigInt(i) << 27n, 1n << 27n))),
  ],
  dictionary: [le64(NOWHERE), le64(1n << 63n), le64(PAGE_OFFSET), le64(0xffff_ffff_8000_0000n), le64(64n)],
  refusals: [LocalError],
  read: (input) => {
    const { loads } = parseKcore(input, "kcore");
    let end = 0n;
    for (const { range, offset } of loads) {
      promise(range.start >= end && range.end > range.start, "loads overlap, or are out of order");
      promise(offset + range.end - range.start <= 1n << 63n, "a load leaves the file");
      end = range.end;
      const pieces = kcorePieces({ loads, pageOffset: undefined, notes: undefined }, range.start, 1);
      promise(pieces?.length === 1 && pieces[0]!.offset === offset, "a load's first byte is not where it is");
    }
  },
};

const kcoreNotes: FuzzedReader = {
  name: "kcore-notes",
  corpus: [
    Buffer.concat([note("CORE", new Uint8Array(336)), note("VMCOREINFO", bytesOf("OSRELEASE=6.1.0\n"))]),
  ],
  dictionary: [bytesOf("VMCOREINFO\0"), le64(0xffff_ffff_ffffn), le64(11n)],
  refusals: [],
  read: (input) => {
    const found = vmcoreinfoIn(input);
    promise(found === undefined || found.length <= input.length, "a note that is larger than all of them");
  },
};

const SYMBOLS = ["_stext", "kexec_crash_image", "crash_notes"];

const kallsyms: FuzzedReader = {
  name: "kallsyms",
  corpus: [
    bytesOf(
      "0000000000000000 A x\nffffffff9ca00000 T _stext\nffffffff9e58e2a8 B kexec_crash_image\nffffffffc0000000 t crash_notes\t[m]\n",
    ),
  ],
  dictionary: [...SYMBOLS.map((name) => ` B ${name}\n`), "\t[", "\n", "ffffffffffffffff"].map(bytesOf),
  refusals: [],
  read: (input) => {
    const whole = new SymbolSearch(SYMBOLS);
    whole.append(Buffer.from(input).toString("latin1"));
    for (const [name, address] of whole.found) {
      promise(SYMBOLS.includes(name), "a symbol that was not asked for");
      promise(address > 0n && address < 1n << 64n, "an address of more than 64 bits");
    }
  },
};

/** Three readers. */
export const LOCAL_READERS: readonly FuzzedReader[] = [kcore, kcoreNotes, kallsyms];
