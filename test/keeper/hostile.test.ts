/** A guest whose memory is not what it seems: the keeper ends in time and writes only inside its crash memory. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeCoreHeader } from "../../src/elfcore/encode.ts";
import type { CoreHeader, ProgramHeader } from "../../src/elfcore/header.ts";
import { ImageError } from "../../src/image/error.ts";
import { Keeper } from "../../src/keeper/keeper.ts";
import { plugMemory } from "../../src/keeper/plug.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { type Form, FORMS } from "../image/fake-loaders.ts";
import { CRASH, KERNEL, le64, PLACES, UNITS } from "../image/fake-machine.ts";
import { anyByte, interesting, survives } from "../image/survives.ts";
import { FakeTarget, MIB, slots } from "./fake-target.ts";

/** Where changes hurt most: kernel data, kimage, notes, header, boot parameters, purgatory. */
const spots = (target: FakeTarget): readonly (readonly [bigint, number])[] => [
  [PLACES.crashkRes, 160],
  [PLACES.name, 13],
  [PLACES.imagePointer, 8],
  [PLACES.kimage + 24n, 256],
  [PLACES.note, 200],
  [PLACES.crashNotes, 16],
  [target.image.headerAddress, 600],
  [target.image.commandLineAddress, 60],
  [target.image.tableAddress, 256],
  [target.image.digestAddress, 32],
  [PLACES.crashNotesPointer, 8],
  [PLACES.perCpuOffset, 80],
];
describe("a machine with changed bytes", () => {
  const change = fc.tuple(fc.nat({ max: 11 }), fc.nat({ max: 1023 }), fc.oneof(anyByte, interesting));

  test.each(FORMS)(
    "of form %s is survived, and nothing is written outside its crash memory",
    async (form) => {
      const target = new FakeTarget(form, {}, { units: UNITS });
      target.setCpus(3);
      target.add(slots(0));
      const good = target.memory.snapshot();
      await fc.assert(
        fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (list) => {
          target.memory.restore(good);
          for (const [spot, at, value] of list) {
            const [start, size] = spots(target)[spot]!;
            if (typeof value === "number")
              target.memory.poke(start + BigInt(at % size), Uint8Array.of(value));
            else
              target.memory.poke(start + BigInt((at % Math.max(1, Math.floor(size / 8))) * 8), le64(value));
          }
          const before = target.memory.snapshot();
          await survives(() => new Keeper(target, nodeSha256).reconcile());
          const stray = target.memory.differences(before).filter((at) => at < CRASH.start || at >= CRASH.end);
          expect(stray).toEqual([]);
          expect(target.running).toBe(true);
        }),
        { numRuns: 120, seed: 6 },
      );
    },
    120_000,
  );
});

/** A device's registers: addresses at which this machine has no RAM. */
const MMIO = 0xfed0_0000n;
/** Where another guest of the same host would have its crash memory; this one has no RAM there. */
const ANOTHER_GUEST = 0x7000_0000n;

/** Replaces fields of program header `index` (from the end where negative) in the loaded image's header, as the guest itself would. */
function forge(target: FakeTarget, index: number, fields: Partial<ProgramHeader>): void {
  const { header, headerAddress } = target.image;
  const place = index < 0 ? header.programHeaders.length + index : index;
  const forged: CoreHeader = {
    ...header,
    programHeaders: header.programHeaders.map((each, i) => (i === place ? { ...each, ...fields } : each)),
  };
  target.memory.poke(headerAddress, encodeCoreHeader(forged));
}

interface Forgery {
  readonly name: string;
  readonly forge: (target: FakeTarget) => void;
  /** Of the audit, or of the error that plug ends with. */
  readonly reason: RegExp;
  readonly verdict: string;
}

const FORGERIES: readonly Forgery[] = [
  {
    name: "a header that describes itself",
    forge: (target) => forge(target, -1, { p_offset: CRASH.start, p_paddr: CRASH.start, p_memsz: 4n * MIB }),
    reason: /in memory that it describes itself: a copy/,
    verdict: "unknown",
  },
  {
    name: "a header whose CPU note is a device's registers",
    forge: (target) => forge(target, 0, { p_offset: MMIO, p_paddr: MMIO }),
    reason: /the note of its CPU entry 0 \(368 bytes at 0xfed00000\) is not in RAM/,
    verdict: "unknown",
  },
  {
    name: "a header whose VMCOREINFO lies in another guest's range",
    forge: (target) => forge(target, 2, { p_offset: ANOTHER_GUEST, p_paddr: ANOTHER_GUEST }),
    reason: /its last PT_NOTE does not lead to RAM/,
    verdict: "unknown",
  },
  ...[65_535, 65_534].map((count) => ({
    name: `a header with ${count} program headers`,
    forge: (target: FakeTarget) =>
      target.memory.poke(target.image.headerAddress + 56n, Uint8Array.of(count & 255, count >> 8)),
    reason:
      count === 65_535
        ? /e_phnum .* is 65535, expected 1 to 65534/
        : /no core header was found in it|its 65534 program headers reach beyond RAM/,
    verdict: "unknown",
  })),
  {
    name: "an image whose first segment is a device's registers",
    forge: (target) => target.memory.poke(PLACES.kimage + 80n, le64(MMIO)),
    reason: /no capture kernel is loaded/,
    verdict: "not-loaded",
  },
  {
    name: "an image whose first segment lies in another guest's range",
    forge: (target) => target.memory.poke(PLACES.kimage + 80n, le64(ANOTHER_GUEST)),
    reason: /no capture kernel is loaded/,
    verdict: "not-loaded",
  },
  {
    name: "crash memory that is a device's registers",
    forge: (target) => target.memory.poke(PLACES.crashkRes, Buffer.concat([le64(MMIO), le64(MMIO + 0xfffn)])),
    reason: /has reserved no crash memory/,
    verdict: "not-loaded",
  },
  {
    name: "crash memory that is the kernel itself",
    forge: (target) =>
      target.memory.poke(PLACES.crashkRes, Buffer.concat([le64(KERNEL), le64(KERNEL + 0x3_ffffn)])),
    reason: /no capture kernel is loaded/,
    verdict: "not-loaded",
  },
];

describe.each(FORMS)("a guest with an image of form %s that forges", (form: Form) => {
  test.each(FORGERIES)("$name is refused with the reason", async ({ forge: apply, reason, verdict }) => {
    const target = new FakeTarget(form);
    target.add(slots(0));
    apply(target);
    const keeper = new Keeper(target, nodeSha256);
    const { after, installed } = await keeper.reconcile();
    expect(after.verdict).toBe(verdict);
    expect(after.reason).toMatch(reason);
    expect(installed).toBeUndefined();
    const refusal: unknown = await plugMemory(target, keeper, 128n * MIB).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(ImageError);
    expect(String(refusal)).toMatch(reason);
    expect(target.memory.writes).toEqual([]);
    expect(target.pauses).toBe(0);
  });

  test("a load of a device's registers is told as memory that is gone, and taken out", async () => {
    const target = new FakeTarget(form);
    forge(target, -1, {
      p_offset: MMIO,
      p_paddr: MMIO,
      p_vaddr:
        target.image.header.programHeaders.at(-1)!.p_vaddr +
        (MMIO - target.image.header.programHeaders.at(-1)!.p_paddr),
      p_filesz: 4096n,
      p_memsz: 4096n,
    });
    target.reseal();
    const { before, after } = await new Keeper(target, nodeSha256).reconcile();
    expect(before.stale.contains(MMIO)).toBe(true);
    expect(after.stale.isEmpty).toBe(true);
    expect(target.memory.reads.filter(({ address }) => address >= MMIO && address < MMIO + 4096n)).toEqual(
      [],
    );
  });

  test.each([
    [
      "e_phnum",
      (target: FakeTarget) => target.memory.poke(target.image.headerAddress + 56n, Uint8Array.of(0xff, 0xff)),
    ],
    ["a load", (target: FakeTarget) => forge(target, -1, { p_paddr: CRASH.start, p_offset: CRASH.start })],
    ["the image's segments", (target: FakeTarget) => target.memory.poke(PLACES.kimage + 80n, le64(MMIO))],
  ] as const)("%s between our check and our write has nothing written", async (_, change) => {
    const target = new FakeTarget(form);
    target.add(slots(0));
    target.beforePause.push(() => change(target));
    // It is looked at again, found to be another image or none, and left alone.
    const { after, installed } = await new Keeper(target, nodeSha256).reconcile();
    expect(["unknown", "not-loaded", "broken"]).toContain(after.verdict);
    expect(installed).toBeUndefined();
    expect(target.memory.writes).toEqual([]);
    expect(target.pauses).toBe(1);
    expect(target.running).toBe(true);
  });
});
