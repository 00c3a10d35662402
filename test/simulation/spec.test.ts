/** `sim:SPEC`: what can be said, and what is said of what cannot. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SimulationError } from "../../src/simulation/error.ts";
import { buildMachine, parseSpec } from "../../src/simulation/spec.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { BLOCK, machineOf, places } from "./sim.ts";

const GIB = 1n << 30n;

/** Whether `text` becomes a machine or our own error. */
function outcomeOf(text: string): unknown {
  try {
    buildMachine(parseSpec(text), nodeSha256);
    return "ours";
  } catch (error) {
    return error instanceof SimulationError ? "ours" : error;
  }
}

test("a kernel alone is a machine with 2 GiB, two CPUs and a loaded capture kernel", () => {
  expect(parseSpec("6.1")).toMatchObject({
    ram: 2n * GIB,
    cpus: 2,
    call: "kexec_file_load",
    loaded: true,
    steps: [],
  });
});

test("settings hold from the start, steps are taken in their order", () => {
  const spec = parseSpec("6.12,dimm=1G,load=kexec_load,unplug=dimm0,dimm=512M,ram=4G,cpus=4,reload");
  expect(spec).toMatchObject({ call: "kexec_load", ram: 4n * GIB, cpus: 4 });
  expect(spec.steps).toEqual([
    { step: "dimm", size: GIB },
    { step: "unplug", id: "dimm0" },
    { step: "dimm", size: GIB / 2n },
    { step: "load" },
  ]);
});

function ramOf(ram: string): unknown {
  return buildMachine(parseSpec(`6.1,ram=${ram},noload`), nodeSha256).memory.ram.ranges;
}

test("RAM lies as q35 has it: whole below the hole up to 2.75 GiB, else 2 GiB and the rest above 4 GiB", () => {
  expect(ramOf("2G")).toEqual([{ start: 0n, end: 2n * GIB }]);
  expect(ramOf("2815M")).toEqual([{ start: 0n, end: 2815n << 20n }]);
  expect(ramOf("4G")).toEqual([
    { start: 0n, end: 2n * GIB },
    { start: 4n * GIB, end: 6n * GIB },
  ]);
});

test("crash memory lies where 2 GiB guests have it, and above 4 GiB with high", () => {
  const low = buildMachine(parseSpec("6.1,noload"), nodeSha256).blueprint;
  expect(low.crashkRes).toEqual({ start: 0x6f00_0000n, end: 0x7f00_0000n });
  const high = buildMachine(parseSpec("6.1,ram=8G,high,crash=512M"), nodeSha256).blueprint;
  expect(high.crashkRes).toEqual({ start: 0x2_6000_0000n, end: 0x2_8000_0000n });
  expect(high.crashkLowRes).toEqual({ start: 0x6f00_0000n, end: 0x7f00_0000n });
});

describe("what cannot be simulated is named with its place", () => {
  test.each([
    ["", /begins with "", expected a kernel: 5\.10, 6\.1, 6\.12/],
    ["7.9", /begins with "7\.9"/],
    ["6.1,ram=2X", /"ram=2X" at character 5: expected a size/],
    ["6.1,ram=0G", /expected a size/],
    ["6.1,noload,cpus=0", /"cpus=0" at character 12: expected a whole number from 1 to 128/],
    ["6.1,cpus=1000000", /whole number/],
    ["6.1,load=magic", /expected load=kexec_file_load or load=kexec_load/],
    ["6.1,frobnicate", /expected one of ram, crash/],
    ["6.1,", /"" at character 5/],
    ["6.1,noload=1", /expected no value/],
    ["6.1,unplug", /name of a DIMM/],
    ["6.1,pin", /name of a DIMM, such as pin=dimm0/],
    [`6.1${",cpu".repeat(5000)}`, /5000 parts/],
  ])("%.40s", (text, message) => {
    expect(() => parseSpec(text)).toThrow(message);
    expect(() => parseSpec(text)).toThrow(SimulationError);
  });

  test.each([
    ["6.1,ram=100M", /too little RAM/],
    ["6.1,crash=4G", /no room for 4096 MiB of crash memory/],
    ["6.1,high", /no room/],
    ["6.1,dimm=100M", /multiple of a memory block/],
    ["6.1,dimm=4T", /larger than what is left of the machine's limit of 2 TiB/],
    ["6.1,slots=1,dimm=1G,dimm=1G", /all 1 DIMM slots/],
    ["6.1,unplug=dimm7", /"dimm7": the machine has no DIMMs/],
    ["6.1,dimm=1G,unplug=x", /the machine has dimm0/],
    ["6.1,pin=dimm7", /"dimm7": the machine has no DIMMs/],
    ["6.1,dimm=1G,pin=dimm0,unplug=dimm0", /in use and cannot be moved/],
    ["6.1,cpus=2,possible=2,cpu", /all 2 possible/],
    ["6.1,noload,crash=0M,reload", /expected a size/],
    ["6.1,crash=1M", /no room/],
  ])("%s", (text, message) => {
    expect(() => buildMachine(parseSpec(text), nodeSha256)).toThrow(message);
    expect(() => buildMachine(parseSpec(text), nodeSha256)).toThrow(SimulationError);
  });

  test("any text is read, or refused with our own error", () => {
    const part = fc.oneof(
      fc.constantFrom(
        "dimm=1G",
        "cpu",
        "reload",
        "unload",
        "unplug=dimm0",
        "pin=dimm0",
        "high",
        "online",
        "load=kexec_load",
      ),
      fc.string({ maxLength: 12 }),
    );
    fc.assert(
      fc.property(fc.constantFrom("6.1", "6.12", "x"), fc.array(part, { maxLength: 6 }), (kernel, parts) => {
        expect(outcomeOf([kernel, "crash=16M", ...parts].join(","))).toBe("ours");
      }),
      { numRuns: 50 },
    );
  });
});

test("a DIMM takes the lowest place and slot that is free", () => {
  const machine = machineOf("6.1");
  machine.plugDimm(BLOCK);
  machine.plugDimm(BLOCK);
  machine.unplug("dimm0");
  expect(machine.plugDimm(2n * BLOCK)).toBe("dimm0");
  expect(machine.dimms.map(({ id, range }) => [id, range])).toEqual([
    ["dimm1", places(1)],
    ["dimm0", places(2, 2)],
  ]);
});

test("a machine that stands still cannot give a DIMM up", () => {
  const machine = machineOf("6.1,dimm=128M");
  machine.pause();
  expect(() => machine.unplug("dimm0")).toThrow(SimulationError);
  machine.resume();
  machine.unplug("dimm0");
  expect(machine.dimms).toEqual([]);
});
