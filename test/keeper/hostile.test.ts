/** A guest whose memory is not what it seems: the keeper ends in time and writes only inside its crash memory. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Keeper } from "../../src/keeper/keeper.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { FORMS } from "../image/fake-loaders.ts";
import { CRASH, le64, PLACES, UNITS } from "../image/fake-machine.ts";
import { anyByte, interesting, survives } from "../image/survives.ts";
import { FakeTarget, slots } from "./fake-target.ts";

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
    20_000,
  );
});
