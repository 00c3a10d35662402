/**
 * Whole guests that are forged: an input is a program of changes to a machine's memory, some of them made in the last
 * instant before the keeper's pause. What is fuzzed is everything that follows: search, proofs, digest, plan, writes.
 *
 * Promises, whatever the guest does:
 * - nothing but our own errors comes out, and in time;
 * - what is written lies in RAM that the guest's kernel calls its crash memory at that moment;
 * - the guest is never left paused;
 * - an image that would have passed purgatory's check when the pause began passes it when the pause ends, and the
 *   capture kernel would take its header: nothing is half written.
 */
import { ImageError } from "../../../src/image/error.ts";
import { MemoryAccessError } from "../../../src/image/memory.ts";
import { CoreHeaderError } from "../../../src/elfcore/error.ts";
import { Keeper } from "../../../src/keeper/keeper.ts";
import type { PausedWork } from "../../../src/keeper/machine.ts";
import { plugMemory, UnfinishedPlugError } from "../../../src/keeper/plug.ts";
import { LayoutError } from "../../../src/layout/error.ts";
import type { PhysicalRange } from "../../../src/layout/range.ts";
import { RangeSet } from "../../../src/layout/range-set.ts";
import { nodeSha256 } from "../../../src/targets/sha256.ts";
import { FORMS } from "../../image/fake-loaders.ts";
import { BOOT_RAM, CRASH, KERNEL, le64, PLACES } from "../../image/fake-machine.ts";
import type { FakeMemory } from "../../image/fake-memory.ts";
import { FakeTarget, HOT, MIB, slots } from "../../keeper/fake-target.ts";
import { type FuzzedReader, promise } from "../reader.ts";

/** One change: where, in what, and the value. 12 bytes: place, flags, offset (2), value (8). */
const CHANGE = 12;
const MAX_CHANGES = 12;
/** Flags: the value is one byte; the change is made right before the pause; the digest is made right again after it. */
const ONE_BYTE = 1;
const AT_PAUSE = 2;
const RESEAL = 4;

/** Where changes hurt: kernel data, notes, kimage, header, command line, purgatory. */
function places({ image }: FakeTarget): readonly (readonly [start: bigint, size: number])[] {
  return [
    [PLACES.crashkRes, 32],
    [PLACES.crashkLowRes, 32],
    [PLACES.name, 13],
    [PLACES.imagePointer, 8],
    [PLACES.kimage + 24n, 40],
    [PLACES.kimage + 64n, 32 * 8],
    [PLACES.note, 160],
    [PLACES.crashNotes, 16],
    [image.headerAddress, 64],
    [image.headerAddress + 64n, 56 * 8],
    [image.commandLineAddress, 60],
    [image.tableAddress, 256],
    [image.digestAddress, 32],
    [PLACES.user, 4096],
    // boot_params: setup_data, e820_entries, command line pointers; then the map itself.
    [image.segments.get("boot-params")!.start + 0x1e0n, 0x78],
    [image.segments.get("boot-params")!.start + 0x2d0n, 20 * 8],
  ];
}

class ForgedTarget extends FakeTarget {
  /** What is wrong with what was done to it; empty where nothing is. */
  readonly wrongs: string[] = [];

  override async paused<T>(work: () => Promise<T>): Promise<PausedWork<T>> {
    return super.paused(async () => {
      const before = this.#armed();
      try {
        return await work();
      } finally {
        if (before === "armed" && this.#armed() !== "armed")
          this.wrongs.push(`the image was armed when the pause began and is ${this.#armed()} when it ends`);
      }
    });
  }

  /** As panicView says, but for tables so forged that they name more than there is to hash. */
  #armed(): string {
    let bytes = 0n;
    for (let i = 0; i < 16; i++) {
      const entry = Buffer.from(this.memory.peek(this.image.tableAddress + BigInt(i * 16), 16));
      const [start, size] = [entry.readBigUInt64LE(0), entry.readBigUInt64LE(8)];
      bytes += size;
      if (start + size > 1n << 40n || bytes > 16n * MIB) return "forged beyond hashing";
    }
    const { outcome } = this.view;
    return outcome;
  }
}

/** Crash memory as the guest's kernel has it now, forged or not, and what it really is. */
function crashMemoryOf(memory: FakeMemory): RangeSet {
  const ranges: PhysicalRange[] = [CRASH];
  for (const place of [PLACES.crashkRes, PLACES.crashkLowRes]) {
    const bytes = Buffer.from(memory.peek(place, 16));
    const range = { start: bytes.readBigUInt64LE(0), end: bytes.readBigUInt64LE(8) + 1n };
    if (range.start < range.end && BOOT_RAM.covers(range)) ranges.push(range);
  }
  return RangeSet.of(ranges);
}

interface Change {
  readonly place: number;
  readonly flags: number;
  readonly offset: number;
  readonly value: bigint;
}

function changesIn(input: Uint8Array): readonly Change[] {
  const bytes = Buffer.from(input);
  const changes: Change[] = [];
  for (let at = 0; at + CHANGE <= bytes.length && changes.length < MAX_CHANGES; at += CHANGE) {
    changes.push({
      place: bytes[at]!,
      flags: bytes[at + 1]!,
      offset: bytes.readUInt16LE(at + 2),
      value: bytes.readBigUInt64LE(at + 4),
    });
  }
  return changes;
}

function apply(target: FakeTarget, { place, flags, offset, value }: Change): void {
  const all = places(target);
  const [start, size] = all[place % all.length]!;
  const oneByte = (flags & ONE_BYTE) !== 0;
  const steps = oneByte ? size : Math.max(1, Math.floor(size / 8));
  const at = start + BigInt((offset % steps) * (oneByte ? 1 : 8));
  target.memory.poke(at, oneByte ? Uint8Array.of(Number(value & 0xffn)) : le64(value));
  if ((flags & RESEAL) !== 0) target.reseal();
}

function change(place: number, flags: number, offset: number, value: bigint): Uint8Array {
  const bytes = Buffer.alloc(CHANGE);
  bytes.writeUInt8(place, 0);
  bytes.writeUInt8(flags, 1);
  bytes.writeUInt16LE(offset, 2);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, value), 4);
  return bytes;
}

/** Forgeries to begin with: what somebody would try by hand. */
const CORPUS: readonly Uint8Array[] = [
  new Uint8Array(),
  // e_phnum 65,535 and 65,534 (offset 56 of the header: word 7).
  change(8, RESEAL, 7, 0xffffn),
  change(8, RESEAL, 7, 0xfffen),
  // A load that describes the header itself, one in MMIO, one at the end of the address space.
  change(9, RESEAL, 7 * 4 + 3, CRASH.start),
  change(9, RESEAL, 7 * 4 + 3, 0xfed0_0000n),
  change(9, RESEAL, 7 * 4 + 3, (1n << 64n) - 4096n),
  // A CPU's note in MMIO, in crash memory, in the header.
  change(9, RESEAL, 3, 0xfee0_0000n),
  change(9, RESEAL, 3, CRASH.start),
  // Segments that lie in MMIO, overlap, wrap around, or take all of crash memory.
  change(5, 0, 2, 0xfec0_0000n),
  change(5, 0, 2, CRASH.start + 4096n),
  change(5, 0, 3, CRASH.end - CRASH.start),
  change(5, 0, 3, (1n << 64n) - CRASH.start),
  // Crash memory that is MMIO, or the kernel itself.
  change(0, 0, 0, 0xfed0_0000n),
  Buffer.concat([change(0, 0, 0, KERNEL), change(0, 0, 1, KERNEL + 0x3_ffffn)]),
  // Regions beyond crash memory, a digest that is not.
  change(11, RESEAL, 0, KERNEL),
  change(11, RESEAL, 1, 1n << 60n),
  change(12, 0, 0, 0n),
  // The same right before the pause: between our check and our write.
  change(8, AT_PAUSE | RESEAL, 7, 0xffffn),
  change(9, AT_PAUSE | RESEAL, 7 * 4 + 3, CRASH.start),
  change(3, AT_PAUSE, 0, 0n),
  change(5, AT_PAUSE, 2, 0xfec0_0000n),
  change(11, AT_PAUSE, 0, KERNEL),
  change(7, AT_PAUSE, 0, 5n),
];

const VALUES: readonly bigint[] = [
  0n,
  CRASH.start,
  CRASH.end - 4096n,
  CRASH.end,
  KERNEL,
  PLACES.kimage,
  PLACES.user,
  0xfed0_0000n,
  1n << 32n,
  slots(0).start,
  0xffff_ffff_8000_0000n,
  (1n << 64n) - 1n,
];

function forgedGuest(name: string, work: (target: ForgedTarget) => Promise<void>): FuzzedReader {
  const targets = FORMS.map((form) => {
    const target = new ForgedTarget(form);
    return { target, good: target.memory.snapshot() };
  });
  return {
    name,
    share: 10,
    // Each input begins with the form of the image that it forges.
    corpus: CORPUS.map((program, i) => Buffer.concat([Uint8Array.of(i % FORMS.length), program])),
    dictionary: VALUES.flatMap((value) => [
      le64(value),
      ...[4, 5, 9, 11].map((place) => change(place, RESEAL, 2, value)),
    ]),
    refusals: [ImageError, CoreHeaderError, LayoutError, MemoryAccessError, UnfinishedPlugError],
    read: async (input) => {
      const { target, good } = targets[(input[0] ?? 0) % targets.length]!;
      target.memory.restore(good);
      target.memory.reads.length = 0;
      target.memory.writes.length = 0;
      target.wrongs.length = 0;
      target.beforePause.length = 0;
      target.unplugAll();
      const changes = changesIn(input.subarray(1));
      for (const each of changes.filter(({ flags }) => (flags & AT_PAUSE) === 0)) apply(target, each);
      for (const each of changes.filter(({ flags }) => (flags & AT_PAUSE) !== 0))
        target.beforePause.push(() => apply(target, each));
      target.memory.onWrite = ({ address, length }) => {
        if (!crashMemoryOf(target.memory).covers({ start: address, end: address + BigInt(length) }))
          target.wrongs.push(
            `${length} bytes were written at 0x${address.toString(16)}, outside of crash memory`,
          );
        if (target.running) target.wrongs.push("something was written while the guest ran");
      };
      try {
        await work(target);
      } finally {
        promise(target.running, "the guest is left paused");
        promise(target.wrongs.length === 0, target.wrongs.join("; "));
        promise(target.memory.reads.length < 100_000, `${target.memory.reads.length} reads were made`);
      }
    },
  };
}

export const FORGED_GUESTS: readonly FuzzedReader[] = [
  forgedGuest("forged-guest-kept", async (target) => {
    target.add(slots(0));
    const keeper = new Keeper(target, nodeSha256);
    await keeper.reconcile();
    // The second look goes by what the first one remembers.
    target.add(slots(2));
    await keeper.reconcile();
  }),
  // More DIMMs, none of which touches another, than a header of one page has room for: it has to move, or to be refused.
  // They are small, because a guest that is forged well enough has all of its RAM searched: 10 GiB take a second or two.
  forgedGuest("forged-guest-outgrown", async (target) => {
    for (let i = 0n; i < 80n; i++) target.add({ start: HOT + 4n * i * MIB, end: HOT + (4n * i + 2n) * MIB });
    await new Keeper(target, nodeSha256).reconcile();
  }),
  forgedGuest("forged-guest-plugged", async (target) => {
    await plugMemory(target, new Keeper(target, nodeSha256), 128n * MIB);
  }),
];
