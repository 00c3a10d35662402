/** Panics: what purgatory and the capture kernel make of what lies in crash memory. */
import { describe, expect, test } from "vitest";
import { u64Bytes } from "../../src/image/bytes.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import type { LoadCall } from "../../src/simulation/load.ts";
import { VmcoreReadError } from "../../src/simulation/vmcore.ts";
import { BLOCK, dumpOf, machineOf, places } from "./sim.ts";

const CALLS: readonly LoadCall[] = ["kexec_file_load", "kexec_load"];
const KERNEL_NAMES = ["5.10", "6.1", "6.12"];
const WORDS = Uint8Array.from("in hot-added memory", (c) => c.charCodeAt(0));

describe.each(KERNEL_NAMES.flatMap((kernel) => CALLS.map((call) => [kernel, call] as const)))(
  "%s, loaded by %s",
  (kernel, call) => {
    const text = `${kernel},load=${call}`;

    test("a panic gives a complete dump, with the bytes of memory in it", () => {
      const machine = machineOf(text);
      machine.memory.poke(0x200_0000n, WORDS);
      const vmcore = dumpOf(machine.panic());
      expect(machine.judge()).toMatchObject({
        outcome: "complete",
        missing: RangeSet.empty,
        stale: RangeSet.empty,
      });
      expect(vmcore.readPhysical(0x200_0000n, WORDS.length)).toEqual(WORDS);
      expect(vmcore.readPhysical(machine.blueprint.vmcoreinfo, 11)?.[0]).toBe(11);
    });

    test("a panic leaves the machine that was asked about as it was", () => {
      const machine = machineOf(text);
      const note = machine.blueprint.crashNotes.base;
      machine.panic();
      expect(machine.memory.peek(note, 368)).toEqual(new Uint8Array(368));
      expect(machine.panic().kind).toBe("vmcore");
    });

    test("an unloaded image leaves its bytes, and a panic gives nothing", () => {
      const machine = machineOf(text);
      const { header } = machine.image!;
      machine.unload();
      expect(machine.memory.peek(header.start, 4)).toEqual(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46));
      expect(machine.panic()).toEqual({ kind: "no image" });
      expect(machine.judge().outcome).toBe("no dump");
      expect(machine.loaded).toBe(false);
    });

    test("a digest that does not match hangs, and so does a change of anything that it covers", () => {
      const machine = machineOf(text);
      const { digest, bootParams } = machine.image!;
      const before = machine.memory.peek(digest, 1);
      machine.memory.poke(digest, Uint8Array.of(before[0]! ^ 1));
      expect(machine.panic().kind).toBe("hang");
      machine.memory.poke(digest, before);
      expect(machine.panic().kind).toBe("vmcore");
      machine.memory.poke(bootParams.start + 0x1800n, Uint8Array.of(1));
      expect(machine.panic().kind).toBe("hang");
    });

    test("a header written without its digest hangs, except where the digest leaves it out", () => {
      const machine = machineOf(text);
      const { header } = machine.image!;
      machine.memory.poke(header.start + 0x3f8n, Uint8Array.of(1));
      const excluded = kernel === "6.12" && call === "kexec_file_load";
      expect(machine.panic().kind).toBe(excluded ? "vmcore" : "hang");
    });

    test("a second load takes the place of the first", () => {
      const machine = machineOf(text);
      machine.plugDimm(BLOCK);
      machine.load({ call, seed: 99 });
      expect(machine.judge().outcome).toBe("complete");
    });

    test("memory that was added behind the kernel's back is missing until the image is loaded again", () => {
      const machine = machineOf(text);
      machine.plugDimm(BLOCK);
      const handled = kernel === "6.12" && call === "kexec_file_load";
      expect(machine.judge()).toMatchObject({
        outcome: handled ? "complete" : "incomplete",
        missing: handled ? RangeSet.empty : RangeSet.of([places(0)]),
      });
    });

    test("without acpi_no_memhotplug hot-added memory is described and cannot be read", () => {
      const machine = machineOf(`${text},memhotplug`);
      machine.plugDimm(BLOCK);
      machine.load({ call, commandLine: "reset_devices" });
      const vmcore = dumpOf(machine.panic());
      expect(vmcore.described.covers(places(0))).toBe(true);
      expect(() => vmcore.readPhysical(places(0).start, 16)).toThrow(VmcoreReadError);
      expect(machine.judge()).toMatchObject({ outcome: "incomplete", missing: RangeSet.of([places(0)]) });
      expect(vmcore.readPhysical(0x200_0000n, 4)).toEqual(new Uint8Array(4));
    });
  },
);

describe("6.12's own handler", () => {
  test("leaves a removed DIMM in the header until the next memory event", () => {
    const machine = machineOf("6.12");
    const first = machine.plugDimm(BLOCK);
    machine.plugDimm(BLOCK);
    machine.unplug(first);
    expect(machine.judge()).toMatchObject({ outcome: "complete", stale: RangeSet.of([places(0)]) });
    const vmcore = dumpOf(machine.panic());
    // What is not there reads as zeros.
    expect(vmcore.readPhysical(places(0).start, 4)).toEqual(new Uint8Array(4));
    machine.addCpu();
    expect(machine.judge().stale.isEmpty).toBe(false);
    machine.plugDimm(2n * BLOCK);
    expect(machine.judge()).toMatchObject({ outcome: "complete", stale: RangeSet.empty });
  });

  test("describes a DIMM whole at its first block, and not before", () => {
    const machine = machineOf("6.12,manual-online");
    machine.plugDimm(2n * BLOCK);
    expect(dumpOf(machine.panic()).described.overlaps(places(0, 2))).toBe(false);
    // Nothing is lost: memory that is offline is not used.
    expect(machine.judge().outcome).toBe("complete");
    machine.online();
    expect(dumpOf(machine.panic()).described.covers(places(0, 2))).toBe(true);
  });

  test("leaves an image of kexec_load alone, and does nothing where none is loaded", () => {
    const machine = machineOf("6.12,load=kexec_load");
    machine.plugDimm(BLOCK);
    expect(machine.judge().outcome).toBe("incomplete");
    const empty = machineOf("6.12,noload");
    empty.plugDimm(BLOCK);
    expect(empty.panic()).toEqual({ kind: "no image" });
  });
});

describe("the capture kernel refuses", () => {
  const cases: readonly (readonly [string, number, readonly number[], RegExp])[] = [
    ["a file without magic", 0, [0], /no ELF magic/],
    ["e_type", 0x10, [2], /e_type/],
    ["e_machine", 0x12, [3], /e_machine/],
    ["32 bits", 4, [1], /ELFCLASS64/],
    ["e_version", 0x14, [2], /EV_CURRENT/],
    ["e_ehsize", 0x34, [63], /e_ehsize/],
    ["e_phentsize", 0x36, [55], /e_phentsize/],
    ["no program headers", 0x38, [0, 0], /e_phnum/],
    ["a note of no bytes", 64 + 40, [0, 0, 0, 0, 0, 0, 0, 0], /PT_NOTE/],
    ["an address beyond the end", 64 + 8, [255, 255, 255, 255, 255, 255, 255, 255], /address space/],
  ];
  // 6.12's digest leaves the header out, so that the header can be spoilt by itself.
  test.each(cases)("%s", (_, offset, bytes, reason) => {
    const machine = machineOf("6.12");
    machine.memory.poke(machine.image!.header.start + BigInt(offset), Uint8Array.from(bytes));
    const result = machine.panic();
    expect(result.kind).toBe("refused");
    expect("reason" in result && result.reason).toMatch(reason);
  });

  test("a header without notes", () => {
    const machine = machineOf("6.12");
    const { start } = machine.image!.header;
    for (let i = 0; i < 9; i++) machine.memory.poke(start + BigInt(64 + i * 56), Uint8Array.of(0, 0, 0, 0));
    expect(machine.panic()).toMatchObject({ kind: "refused", reason: expect.stringContaining("no PT_NOTE") });
  });
});

test("a pointer to something that is no image hangs", () => {
  const machine = machineOf("6.1");
  const { kernel, pageOffset, heap } = machine.blueprint;
  machine.memory.poke(kernel.paddr + 0x3_0008n, u64Bytes(pageOffset + heap + 0x8000n));
  expect(machine.panic().kind).toBe("hang");
});

test("a region table that names more memory than there is hangs", () => {
  const machine = machineOf("6.1");
  machine.memory.poke(machine.image!.table + 8n, u64Bytes(1n << 60n));
  expect(machine.panic().kind).toBe("hang");
});

test("a removed DIMM takes its bytes with it", () => {
  const machine = machineOf("6.1,dimm=128M");
  machine.memory.poke(places(0).start, WORDS);
  machine.unplug("dimm0");
  machine.memory.poke(places(0).start, WORDS);
  expect(machine.memory.peek(places(0).start, WORDS.length)).toEqual(new Uint8Array(WORDS.length));
  machine.plugDimm(BLOCK);
  expect(machine.memory.peek(places(0).start, WORDS.length)).toEqual(new Uint8Array(WORDS.length));
});

test("a load that cannot be leaves nothing armed", () => {
  const machine = machineOf("6.1,noload,crash=1M");
  expect(() => machine.load()).toThrow("crash memory (1 MiB) has no room");
  expect(machine.panic()).toEqual({ kind: "no image" });
});
