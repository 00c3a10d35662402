/** What must hold of `wantedHeader` for any header and any machine. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { compareCoreHeaders } from "../../src/elfcore/compare.ts";
import { decodeCoreHeader } from "../../src/elfcore/decode.ts";
import { encodeCoreHeader } from "../../src/elfcore/encode.ts";
import type { CoreHeader, ProgramHeader } from "../../src/elfcore/header.ts";
import { isRam } from "../../src/elfcore/kinds.ts";
import { compareWithLayout, describedMemory } from "../../src/layout/described.ts";
import { hotpluggableMemory, type MachineLayout } from "../../src/layout/machine.ts";
import type { MemoryDevice } from "../../src/layout/qmp.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { wantedHeader } from "../../src/layout/wanted.ts";
import { bootLoads, dimm, headerOf, hot, layoutWith } from "./samples.ts";

const SLOTS = 12;

const hotRange = fc
  .tuple(fc.nat({ max: SLOTS - 1 }), fc.integer({ min: 1, max: 3 }))
  .map(([first, count]) => hot(first, count));

const backup = { start: 0x1000n, end: 0x9_fc00n, fileOffset: 0x78f6_0000n };

/** Boot RAM and some hot-added loads in any order, overlapping or not, with unknown program headers between. */
const someHeader: fc.Arbitrary<CoreHeader> = fc
  .record({
    hotLoads: fc.array(hotRange, { maxLength: 6 }),
    unknown: fc.array(fc.nat({ max: 20 }), { maxLength: 2 }),
    hasBackup: fc.boolean(),
  })
  .chain(({ hotLoads, unknown, hasBackup }) => {
    const ram = [...(hasBackup ? [backup] : []), ...bootLoads, ...hotLoads];
    return fc
      .oneof(fc.constant(ram), fc.shuffledSubarray(ram, { minLength: ram.length }))
      .map((order) => withUnknown(headerOf(order), unknown));
  });

const someDevices: fc.Arbitrary<readonly MemoryDevice[]> = fc
  .uniqueArray(fc.nat({ max: SLOTS + 1 }), { maxLength: SLOTS })
  .chain((slots) =>
    fc
      .array(fc.constantFrom("dimm" as const, "dimm" as const, "nvdimm" as const), {
        minLength: slots.length,
        maxLength: slots.length,
      })
      .map((kinds) => slots.map((slot, index) => ({ ...dimm(hot(slot)), kind: kinds[index] ?? "dimm" }))),
  );

const someLayout: fc.Arbitrary<MachineLayout> = someDevices.map((devices) => layoutWith(devices));

function withUnknown(header: CoreHeader, places: readonly number[]): CoreHeader {
  const programHeaders = [...header.programHeaders];
  for (const place of places) {
    const unknown = { ...headerOf(bootLoads).programHeaders[0]!, p_type: 0x6000_0000 + place };
    programHeaders.splice(3 + (place % (programHeaders.length - 2)), 0, unknown);
  }
  return { ...header, programHeaders };
}

function special(header: CoreHeader): readonly ProgramHeader[] {
  return header.programHeaders.filter((programHeader) => !isRam(programHeader));
}

test("the wanted header is accurate, and wanting it again changes nothing", () => {
  fc.assert(
    fc.property(someHeader, someLayout, (header, layout) => {
      const wanted = wantedHeader(header, layout);
      const { missing, stale } = compareWithLayout(wanted, layout);
      expect([missing.ranges, stale.ranges]).toEqual([[], []]);
      expect(wantedHeader(wanted, layout)).toBe(wanted);
    }),
    { numRuns: 500 },
  );
});

test("it describes what was described and what is plugged, without what is stale", () => {
  fc.assert(
    fc.property(someHeader, someLayout, (header, layout) => {
      const { stale } = compareWithLayout(header, layout);
      const expected = describedMemory(header).union(hotpluggableMemory(layout)).subtract(stale);
      expect(describedMemory(wantedHeader(header, layout)).ranges).toEqual(expected.ranges);
    }),
    { numRuns: 500 },
  );
});

test("it keeps file header, notes, text, backup and unknown program headers, in their order", () => {
  fc.assert(
    fc.property(someHeader, someLayout, (header, layout) => {
      const wanted = wantedHeader(header, layout);
      expect(special(wanted)).toEqual(special(header));
      expect(wanted.fileHeader).toEqual(header.fileHeader);
    }),
  );
});

test("a kernel would accept it", () => {
  fc.assert(
    fc.property(someHeader, someLayout, (header, layout) => {
      const wanted = wantedHeader(header, layout);
      expect(compareCoreHeaders(decodeCoreHeader(encodeCoreHeader(wanted)), wanted).equal).toBe(true);
    }),
  );
});

test("an accurate header keeps its bytes, whatever its order", () => {
  fc.assert(
    fc.property(someHeader, (header) => {
      const hotLoads = describedMemory(header).subtract(RangeSet.of([...bootLoads, backup]));
      const layout = layoutWith(Array.from(hotLoads, (range) => dimm(range)));
      expect(encodeCoreHeader(wantedHeader(header, layout))).toEqual(encodeCoreHeader(header));
    }),
  );
});

test("plugging one device after the other describes the same as plugging all at once", () => {
  fc.assert(
    fc.property(someDevices, (devices) => {
      const start = headerOf(bootLoads);
      let step = start;
      for (let count = 1; count <= devices.length; count++) {
        step = wantedHeader(step, layoutWith(devices.slice(0, count)));
      }
      const atOnce = wantedHeader(start, layoutWith(devices));
      expect(step.programHeaders).toEqual(atOnce.programHeaders);
    }),
  );
});
