/**
 * What a panic at this instant would do: purgatory's check and the capture kernel's look at the header, written a
 * second time from their sources (purgatory.c, fs/proc/vmcore.c) so that it shares no mistake with src/image.
 */
import { createHash } from "node:crypto";
import { RangeSet } from "../../src/layout/range-set.ts";
import type { PhysicalRange } from "../../src/layout/range.ts";
import type { LoadedImage } from "./fake-loaders.ts";
import { PLACES } from "./fake-machine.ts";
import type { FakeMemory } from "./fake-memory.ts";

export type PanicView =
  | { readonly outcome: "armed"; readonly described: RangeSet }
  | { readonly outcome: "hang" | "nothing-loaded" | "no-vmcore" };

export function panicView(memory: FakeMemory, image: LoadedImage): PanicView {
  if (word(memory, PLACES.imagePointer) === 0n) return { outcome: "nothing-loaded" };
  if (!passesPurgatory(memory, image)) return { outcome: "hang" };
  const line = Buffer.from(memory.peek(image.commandLineAddress, 2048)).toString("latin1").split("\0")[0]!;
  const match = /elfcorehdr=(?:0x([0-9a-f]+)|(\d+)K)/.exec(line);
  if (!match) return { outcome: "no-vmcore" };
  const address = match[1] === undefined ? BigInt(match[2]!) * 1024n : BigInt(`0x${match[1]}`);
  const size = 64n + 56n * BigInt(Buffer.from(memory.peek(address + 56n, 2)).readUInt16LE());
  if (isCaptureRam(memory, image, address, address + size)) return { outcome: "no-vmcore" };
  return vmcore(memory, address);
}

/** Whether the capture kernel's e820 table gives it any of [start, end) as RAM: it would be overwritten. */
function isCaptureRam(memory: FakeMemory, image: LoadedImage, start: bigint, end: bigint): boolean {
  const params = Buffer.from(memory.peek(image.segments.get("boot-params")!.start, 4096));
  for (let i = 0; i < params.readUInt8(0x1e8); i++) {
    const from = params.readBigUInt64LE(0x2d0 + i * 20);
    const size = params.readBigUInt64LE(0x2d8 + i * 20);
    if (params.readUInt32LE(0x2e0 + i * 20) === 1 && from < end && start < from + size) return true;
  }
  return false;
}

function passesPurgatory(memory: FakeMemory, { tableAddress, digestAddress }: LoadedImage): boolean {
  const hash = createHash("sha256");
  for (let i = 0n; i < 16n; i++) {
    const start = word(memory, tableAddress + i * 16n);
    const length = word(memory, tableAddress + i * 16n + 8n);
    hash.update(memory.peek(start, Number(length)));
  }
  return hash.digest().equals(memory.peek(digestAddress, 32));
}

function vmcore(memory: FakeMemory, address: bigint): PanicView {
  const header = Buffer.from(memory.peek(address, 64));
  const sane = header.toString("latin1", 0, 7) === "\x7fELF\x02\x01\x01" && header.readUInt16LE(16) === 4;
  const count = header.readUInt16LE(56);
  if (!sane || count === 0) return { outcome: "no-vmcore" };
  const ranges: PhysicalRange[] = [];
  for (let i = 0; i < count; i++) {
    const entry = Buffer.from(memory.peek(address + 64n + BigInt(i * 56), 56));
    if (entry.readUInt32LE(0) !== 1) continue;
    if (entry.readBigUInt64LE(16) >= 0xffff_ffff_8000_0000n) continue;
    const start = entry.readBigUInt64LE(24);
    ranges.push({ start, end: start + entry.readBigUInt64LE(40) });
  }
  return { outcome: "armed", described: RangeSet.of(ranges) };
}

function word(memory: FakeMemory, address: bigint): bigint {
  return Buffer.from(memory.peek(address, 8)).readBigUInt64LE();
}
