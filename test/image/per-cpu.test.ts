/** The kernel's per-CPU table: found by content, proven by the notes in the header, and not believed otherwise. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type CaptureImage, locateImage } from "../../src/image/locate.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { FORMS, load } from "./fake-loaders.ts";
import {
  CRASH,
  CRASH_NOTES,
  FakeKernel,
  KERNEL,
  le64,
  PAGE_OFFSET,
  PLACES,
  STEXT,
  text,
  UNITS,
} from "./fake-machine.ts";
import { interesting, survives } from "./survives.ts";

async function imageOf(kernel: FakeKernel, known?: CaptureImage): Promise<CaptureImage> {
  const location = await locateImage(kernel.memory, nodeSha256, { kernel: known?.kernel });
  if (location.found !== "image") throw new Error(location.found);
  return location.image;
}

const wantedNotes = UNITS.map((unit) => ({ paddr: unit + CRASH_NOTES, size: 368n }));
const putUnit = (kernel: FakeKernel, cpu: number, value: bigint): void =>
  kernel.memory.poke(PLACES.perCpuOffset + BigInt(cpu * 8), le64(value));

describe.each(FORMS)("of an image of form %s", (form) => {
  test.each([1, 2, 3, 8])("the notes of all possible CPUs are known with %i present", async (cpus) => {
    const kernel = new FakeKernel({ cpus, units: UNITS });
    load(kernel, form);
    expect((await imageOf(kernel)).possibleCpus).toEqual({ state: "known", notes: wantedNotes });
  });

  test("what stands before the table and looks like a unit is none", async () => {
    const kernel = new FakeKernel({ cpus: 1, units: UNITS });
    kernel.memory.poke(PLACES.perCpuOffset - 16n, le64(PAGE_OFFSET + PLACES.note));
    kernel.memory.poke(PLACES.perCpuOffset - 8n, le64(PAGE_OFFSET + PLACES.user));
    load(kernel, form);
    const { possibleCpus, kernel: found } = await imageOf(kernel);
    expect(possibleCpus).toEqual({ state: "known", notes: wantedNotes });
    expect(found?.perCpu).toEqual({ address: PLACES.perCpuOffset, count: 8, crashNotes: CRASH_NOTES });
  });
});

/** Each makes the table one that must not be believed. */
const DOUBTS: readonly (readonly [string, (kernel: FakeKernel) => void])[] = [
  ["there is none", (kernel) => kernel.memory.poke(PLACES.perCpuOffset, new Uint8Array(512))],
  [
    "crash_notes is not in the kernel's data",
    (kernel) => kernel.memory.poke(PLACES.crashNotesPointer, le64(0n)),
  ],
  ["a described CPU's note is elsewhere", (kernel) => putUnit(kernel, 1, PAGE_OFFSET + UNITS[1]! + 0x1000n)],
  ["two CPUs have the same unit", (kernel) => putUnit(kernel, 7, PAGE_OFFSET + UNITS[6]!)],
  ["a unit is not page-aligned", (kernel) => putUnit(kernel, 1, PAGE_OFFSET + UNITS[1]! + 8n)],
  ["a unit that is no RAM ends the table early", (kernel) => putUnit(kernel, 7, PAGE_OFFSET + 0x80_0000n)],
  ["a unit lies in crash memory", (kernel) => putUnit(kernel, 7, PAGE_OFFSET + CRASH.start)],
  [
    "a note's place holds something else",
    (kernel) => kernel.memory.poke(UNITS[7]! + CRASH_NOTES, text("data")),
  ],
  ["its end is not told", (kernel) => kernel.memory.poke(PLACES.perCpuOffset + 64n, new Uint8Array(448))],
  [
    "there are two",
    (kernel) =>
      kernel.memory.poke(PLACES.perCpuOffset + 0x1000n, kernel.memory.peek(PLACES.perCpuOffset, 512)),
  ],
];

test.each(DOUBTS)("nothing is known where %s", async (_, doubt) => {
  const kernel = new FakeKernel({ cpus: 2, units: UNITS });
  load(kernel, "file");
  doubt(kernel);
  expect((await imageOf(kernel)).possibleCpus.state).toBe("unknown");
});

test("nothing is known of a kernel without such a table, and why is told", async () => {
  const kernel = new FakeKernel();
  load(kernel, "file");
  expect((await imageOf(kernel)).possibleCpus).toMatchObject({
    state: "unknown",
    reason: expect.stringContaining("per-CPU table was not found"),
  });
});

test("a table that was found once is read in one read, and is found anew where it does not hold any more", async () => {
  const kernel = new FakeKernel({ cpus: 2, units: UNITS });
  load(kernel, "file");
  const first = await imageOf(kernel);
  kernel.memory.reads.length = 0;
  await imageOf(kernel, first);
  const table = kernel.memory.reads.filter(({ address }) => address === PLACES.perCpuOffset);
  expect(table).toEqual([{ address: PLACES.perCpuOffset, length: 64 }]);
  expect(kernel.memory.reads.every(({ address }) => address !== KERNEL)).toBe(true);
  // A reset: the same kernel at the same place, with its per-CPU areas elsewhere.
  const moved = UNITS.toReversed();
  const after = new FakeKernel({ cpus: 2, units: moved });
  load(after, "file");
  expect((await imageOf(after, first)).possibleCpus).toEqual({
    state: "known",
    notes: moved.map((unit) => ({ paddr: unit + CRASH_NOTES, size: 368n })),
  });
});

test("a kernel full of tables is survived", async () => {
  const kernel = new FakeKernel({ cpus: 2, units: UNITS });
  load(kernel, "file");
  for (let at = 0x3_2000; at < 0x3_f000; at += 64) {
    for (let i = 0; i < 8; i++)
      kernel.memory.poke(
        KERNEL + BigInt(at + i * 8),
        le64(i < 4 ? PAGE_OFFSET + UNITS[i]! : STEXT + BigInt(at & ~0xfff)),
      );
  }
  const found = await survives(() => imageOf(kernel));
  expect(found?.possibleCpus.state).toBe("unknown");
});

test("property: whatever the table holds, known notes are apart, in RAM, outside crash memory, and hold those of the header", async () => {
  const change = fc.record({
    cpu: fc.nat({ max: 63 }),
    value: fc.oneof(
      interesting,
      fc.nat({ max: 127 }).map((page) => PAGE_OFFSET + 0x200_0000n + BigInt(page * 4096)),
    ),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 8 }),
      fc.array(change, { maxLength: 6 }),
      async (cpus, changes) => {
        const kernel = new FakeKernel({ cpus, units: UNITS });
        const image = load(kernel, "file");
        for (const { cpu, value } of changes) putUnit(kernel, cpu, value);
        const found = await survives(() => imageOf(kernel));
        if (found?.possibleCpus.state !== "known") return;
        const { notes } = found.possibleCpus;
        const usable = kernel.memory.ram.subtract(kernel.crashMemory);
        const sorted = notes.map(({ paddr }) => paddr).sort((a, b) => (a < b ? -1 : 1));
        for (const start of sorted) expect(usable.covers({ start, end: start + 368n })).toBe(true);
        for (const [i, note] of sorted.slice(1).entries())
          expect(note - sorted[i]!).toBeGreaterThanOrEqual(368n);
        for (let cpu = 0; cpu < cpus; cpu++)
          expect(sorted).toContain(image.header.programHeaders[cpu]!.p_paddr);
      },
    ),
    { numRuns: 200 },
  );
}, 30_000);
