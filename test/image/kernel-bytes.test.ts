/** A kernel is searched a window at a time: nothing that lies across two of them is lost, and nothing is found twice. */
import { describe, expect, test } from "vitest";
import { KernelBytes } from "../../src/image/kernel-bytes.ts";
import { locateImage } from "../../src/image/locate.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { load } from "./fake-loaders.ts";
import {
  BOOT_RAM,
  CRASH_NOTES,
  FakeKernel,
  KERNEL,
  KERNEL_SIZE,
  le64,
  noise,
  PLACES,
  STEXT,
  text,
  UNITS,
  vmcoreinfoNote,
} from "./fake-machine.ts";
import { FakeMemory } from "./fake-memory.ts";

const MIB = 1024 * 1024;
const PAGE = 4096;

describe("windows", () => {
  const AT = 0x10_0000n;
  const length = 2 * MIB + 3 * PAGE;
  const ram = RangeSet.of([{ start: AT, end: AT + BigInt(length) }]);
  const content = noise(length, 3);

  class Slow extends FakeMemory {
    readonly isSlow = true;
  }

  async function read(memory: FakeMemory, span: number): Promise<Uint8Array> {
    memory.poke(AT, content);
    const kernel = new KernelBytes().span(memory, ram, AT, span);
    const seen = new Uint8Array(kernel!.length);
    const offsets: number[] = [];
    for (let time = 0; time < 2; time++) {
      for await (const { offset, bytes } of kernel!.windows()) {
        seen.set(bytes, offset);
        offsets.push(offset);
      }
    }
    expect(offsets).toEqual([0, MIB, 2 * MIB, 0, MIB, 2 * MIB]);
    return seen;
  }

  test.each([length, length - PAGE, 96 * MIB])(
    "together are the kernel, as far as there is RAM: %i",
    async (span) => {
      const expected = content.subarray(0, Math.min(span, length));
      expect(Buffer.compare(await read(new FakeMemory(ram), span), expected)).toBe(0);
    },
  );

  test("where reading is slow it is read once", async () => {
    const memory = new Slow(ram);
    expect(Buffer.compare(await read(memory, length), content)).toBe(0);
    expect(memory.reads).toEqual([{ address: AT, length }]);
  });

  test("take no room until one is read: a hundred guests are looked at at a time", () => {
    const before = process.memoryUsage().arrayBuffers;
    const looks = Array.from({ length: 100 }, () => new KernelBytes());
    for (const look of looks) look.span(new FakeMemory(ram), ram, AT, length);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(10 * MIB);
  });

  test.each([
    ["is no RAM", 0n],
    ["is behind RAM", AT + BigInt(length)],
    ["is not page-aligned", AT + 8n],
    ["is negative", -4096n],
  ])("there is nothing where the address %s", (_, address) => {
    expect(new KernelBytes().span(new FakeMemory(ram), ram, address, MIB)).toBeUndefined();
  });
});

/** Offsets in the kernel, page-aligned, at which a window may end: before and behind everything, and in all that follows. */
const BOUNDARIES = Array.from({ length: KERNEL_SIZE / PAGE - 1 }, (_, page) => (page + 1) * PAGE);

/** A kernel with its name, its per-CPU table and the table's end across page boundaries. */
function straddling(): FakeKernel {
  const below = { start: KERNEL - BigInt(MIB), end: KERNEL };
  const kernel = new FakeKernel({ cpus: 2, units: UNITS, ram: BOOT_RAM.union(RangeSet.of([below])) });
  const { memory } = kernel;
  const name = KERNEL + 0x1_1000n - 5n;
  memory.poke(PLACES.name, new Uint8Array(13));
  memory.poke(name, text("Crash kernel\0"));
  for (const resource of [PLACES.crashkRes, PLACES.crashkLowRes])
    memory.poke(resource + 16n, le64(STEXT + name - KERNEL));
  const table = memory.peek(PLACES.perCpuOffset, 512);
  memory.poke(PLACES.perCpuOffset, new Uint8Array(512));
  memory.poke(KERNEL + 0x3_2000n - 32n, table);
  return kernel;
}

test("all is found wherever a window ends", async () => {
  for (const boundary of BOUNDARIES) {
    const kernel = straddling();
    const { headerAddress } = load(kernel, "file");
    const before = BigInt(MIB - boundary);
    kernel.memory.poke(PLACES.note, vmcoreinfoNote("6.1", STEXT - before, KERNEL - before));
    const location = await locateImage(kernel.memory, nodeSha256);
    expect(location, `a window ends at 0x${boundary.toString(16)}`).toMatchObject({
      found: "image",
      image: {
        headerAddress,
        loaded: "yes",
        possibleCpus: {
          state: "known",
          notes: UNITS.map((unit) => ({ paddr: unit + CRASH_NOTES, size: 368n })),
        },
      },
    });
  }
});
