/** What the keeper knows, in the words of journal entries; and the writes of an intent back from them. */
import { encodeCoreHeader } from "../../elfcore/encode.ts";
import type { CoreHeader } from "../../elfcore/header.ts";
import { hex } from "../../elfcore/hex.ts";
import { cpuNotes } from "../../elfcore/kinds.ts";
import type { Sha256 } from "../../image/hash.ts";
import type { Guard, WriteRecord } from "../../image/write-ahead.ts";
import { describedMemory } from "../../layout/described.ts";
import type { RangeSet } from "../../layout/range-set.ts";
import type { InstallCause } from "../install-log.ts";
import type { CauseText, GuardText, HeaderText, RangeText, WriteText } from "./entry.ts";

export function rangeTexts(ranges: RangeSet): readonly RangeText[] {
  return ranges.ranges.map(({ start, end }) => ({ start: hex(start), end: hex(end) }));
}

export function headerText(
  { address, header }: { readonly address: bigint; readonly header: CoreHeader },
  sha256: Sha256,
): HeaderText {
  return {
    address: hex(address),
    sha256: toHex(sha256().update(encodeCoreHeader(header)).digest()),
    programHeaders: header.programHeaders.length,
    cpuNotes: cpuNotes(header).length,
    described: rangeTexts(describedMemory(header)),
  };
}

export function causeText({ why, missing, stale }: InstallCause): CauseText {
  return { why, missing: rangeTexts(missing), stale: rangeTexts(stale) };
}

export function writeText({
  what,
  address,
  length,
  sha256Before,
  sha256After,
  runs,
}: WriteRecord): WriteText {
  return {
    what,
    address: hex(address),
    bytes: length,
    sha256Before: toHex(sha256Before),
    sha256After: toHex(sha256After),
    runs: runs.map(({ offset, before, after }) => [offset, toHex(before), toHex(after)] as const),
  };
}

export function writeRecord(text: WriteText): WriteRecord {
  return {
    what: text.what,
    address: BigInt(text.address),
    length: text.bytes,
    sha256Before: fromHex(text.sha256Before),
    sha256After: fromHex(text.sha256After),
    runs: text.runs.map(([offset, before, after]) => ({
      offset,
      before: fromHex(before),
      after: fromHex(after),
    })),
  };
}

export function guardText({ what, address, bytes }: Guard): GuardText {
  return { what, address: hex(address), bytes: toHex(bytes) };
}

export function guard({ what, address, bytes }: GuardText): Guard {
  return { what, address: BigInt(address), bytes: fromHex(bytes) };
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function fromHex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, "hex"));
}
