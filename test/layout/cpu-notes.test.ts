/** Which CPU notes a header gets, and which it does not for want of room. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { buildCoreHeader, type NoteLocation } from "../../src/elfcore/build.ts";
import type { CoreHeader } from "../../src/elfcore/header.ts";
import { cpuNotes, vmcoreinfoNote } from "../../src/elfcore/kinds.ts";
import { headerWithCpuNotes, ROOM_FOR_MEMORY, undescribedCpus } from "../../src/layout/cpu-notes.ts";
import { bootLoads, PAGE_OFFSET } from "./samples.ts";

const notesOf = (count: number): readonly NoteLocation[] =>
  Array.from({ length: count }, (_, cpu) => ({
    paddr: 0x2_3fc3_8600n + BigInt(cpu) * 0x8_0000n,
    size: 368n,
  }));

/** As a loader makes it with the CPUs `present`. */
function headerWith(notes: readonly NoteLocation[], present: readonly number[]): CoreHeader {
  return buildCoreHeader({
    cpuNotes: present.map((cpu) => notes[cpu]!),
    vmcoreinfo: { paddr: 0x1_052f_0000n, size: 4132n },
    kernelText: { paddr: 0x1_1c00_0000n, vaddr: 0xffff_ffff_9c00_0000n, size: 0x342_d000n },
    ram: bootLoads,
    pageOffset: PAGE_OFFSET,
  });
}

const cpusIn = (header: CoreHeader, notes: readonly NoteLocation[]): readonly number[] =>
  cpuNotes(header).map(({ p_paddr }) => notes.findIndex(({ paddr }) => paddr === p_paddr));

test("a header of present CPUs becomes the one that Linux 6.6 makes, byte for byte of meaning", () => {
  const notes = notesOf(8);
  const adopted = headerWithCpuNotes(headerWith(notes, [0, 1]), { notes, present: 2, room: 72 });
  expect(adopted.programHeaders).toEqual(headerWith(notes, [0, 1, 2, 3, 4, 5, 6, 7]).programHeaders);
  expect(undescribedCpus(adopted, notes)).toEqual([]);
});

test("a header that has them all is left as it is", () => {
  const notes = notesOf(4);
  const header = headerWith(notes, [0, 1, 2, 3]);
  expect(headerWithCpuNotes(header, { notes, present: 2, room: 72 })).toBe(header);
});

test("a CPU that was away when the header was made gets its place between the others", () => {
  const notes = notesOf(4);
  const header = headerWith(notes, [0, 2]);
  expect(undescribedCpus(header, notes).map(({ cpu }) => cpu)).toEqual([1, 3]);
  expect(cpusIn(headerWithCpuNotes(header, { notes, present: 3, room: 72 }), notes)).toEqual([0, 1, 2, 3]);
});

describe("without room for all", () => {
  const notes = notesOf(64);
  const header = headerWith(notes, [0, 1]);

  test("CPUs that are not there leave room for memory, and the lowest numbers come first", () => {
    const adopted = headerWithCpuNotes(header, { notes, present: 2, room: 72 });
    expect(72 - adopted.programHeaders.length).toBe(ROOM_FOR_MEMORY);
    expect(cpusIn(adopted, notes)).toEqual(Array.from({ length: 72 - 32 - 5 }, (_, cpu) => cpu));
  });

  test("CPUs that are there take what is left", () => {
    const adopted = headerWithCpuNotes(header, { notes, present: 50, room: 72 });
    expect(cpuNotes(adopted)).toHaveLength(50);
    const full = headerWithCpuNotes(header, { notes, present: 64, room: 20 });
    expect(full.programHeaders).toHaveLength(20);
  });

  test("none is added to a header that is full, or larger than its segment", () => {
    for (const room of [0, header.programHeaders.length - 1, header.programHeaders.length])
      expect(headerWithCpuNotes(header, { notes, present: 64, room })).toBe(header);
  });
});

test("property: adopting twice is adopting once; nothing is lost, reordered or put beyond the room", () => {
  const cases = fc.integer({ min: 1, max: 80 }).chain((possible) =>
    fc.record({
      possible: fc.constant(possible),
      others: fc.subarray(Array.from({ length: possible - 1 }, (_, i) => i + 1)),
      present: fc.integer({ min: 1, max: possible }),
      room: fc.integer({ min: 0, max: 300 }),
    }),
  );
  fc.assert(
    fc.property(cases, ({ possible, others, present, room }) => {
      const notes = notesOf(possible);
      const header = headerWith(notes, [0, ...others]);
      const request = { notes, present, room };
      const adopted = headerWithCpuNotes(header, request);
      expect(headerWithCpuNotes(adopted, request)).toBe(adopted);
      expect(adopted.programHeaders.length).toBeLessThanOrEqual(Math.max(room, header.programHeaders.length));
      const cpus = cpusIn(adopted, notes);
      expect(cpus).toEqual([...cpus].sort((a, b) => a - b));
      for (const cpu of [0, ...others]) expect(cpus).toContain(cpu);
      expect(vmcoreinfoNote(adopted)).toEqual(vmcoreinfoNote(header));
      expect(adopted.programHeaders.slice(cpus.length)).toEqual(
        header.programHeaders.slice(others.length + 1),
      );
    }),
  );
});
