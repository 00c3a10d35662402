import { describe, expect, test } from "vitest";
import { parseScenario } from "../../../src/simulation/world/scenario-file.ts";

const read = (steps: unknown, more: object = {}): unknown =>
  parseScenario(JSON.stringify({ schemaVersion: 1, name: "mine", steps, ...more }), "mine.json");

test("every kind of step, with its units and defaults", () => {
  const steps = [
    { plug: "1G", count: 480, every: "300ms" },
    { plug: "512MiB", address: "0x40000000000" },
    { unplug: 2, every: "settled" },
    { addCpus: 8 },
    { removeCpus: 1, every: "2s" },
    { flapCpu: 60, every: "1min" },
    { coldplug: true },
    { wait: "1.5s" },
  ];
  expect(() => read(steps)).toThrow("limit of 2 TiB");
  expect(read(steps.toSpliced(1, 1, { plug: "512MiB", address: "0x10000000000" }))).toEqual({
    name: "mine",
    title: "mine",
    bootBlocks: 256,
    cpus: 8,
    steps: [
      { step: "plug", blocks: 8, count: 480, pace: 300, at: undefined },
      { step: "plug", blocks: 4, count: 1, pace: "settled", at: (2 ** 40 - 34 * 2 ** 30) / 2 ** 27 },
      { step: "unplug", count: 2, pace: "settled" },
      { step: "add-cpus", count: 8, every: 500 },
      { step: "remove-cpus", count: 1, every: 2000 },
      { step: "flap-cpu", times: 60, every: 60_000 },
      { step: "coldplug" },
      { step: "wait", time: 1500 },
    ],
  });
});

describe("what is wrong is told with its place, what was found and what was expected", () => {
  test.each<readonly [string, unknown, string]>([
    ["a size without a unit", [{ plug: "1" }], 'mine.json: steps.0.plug: found "1", expected a size'],
    ["a wrong unit", [{ plug: "1GHz" }], 'steps.0.plug: found "1GHz", expected a size'],
    ["a size that is a number", [{ plug: 1 }], "steps.0.plug: found 1"],
    [
      "part of a block",
      [{ plug: "64M" }],
      'steps.0.plug: found "64M", expected a multiple of a memory block, 128M',
    ],
    [
      "a negative time",
      [{ plug: "1G", every: "-1s" }],
      'steps.0.every: found "-1s", expected "settled" or a time',
    ],
    ["a wait without a unit", [{ wait: "10" }], 'steps.0.wait: found "10", expected a time'],
    ["a wait of ages", [{ wait: "99999min" }], "expected at most a week"],
    ["no DIMMs", [{ plug: "1G", count: 0 }], "steps.0.count: found 0, expected at least 1"],
    ["half a DIMM", [{ plug: "1G", count: 0.5 }], "steps.0.count: found 0.5, expected a whole number"],
    [
      "a step of no kind",
      [{ plugg: "1G" }],
      'steps.0: found {"plugg":"1G"}, expected a step with one of plug',
    ],
    ["a key too many", [{ wait: "1s", count: 2 }], "steps.0.count"],
    ["no steps", [], "steps: found [], expected at least one step"],
    ["a DIMM larger than the machine takes", [{ plug: "3T" }], "limit of 2 TiB"],
    ["more DIMMs than fit", [{ plug: "1G", count: 3000 }], "limit of 2 TiB"],
    [
      "DIMMs that overlap",
      [{ plug: "2G" }, { plug: "1G", address: "0x8c0000000" }],
      "mine.json: steps.1: a DIMM of 1 GiB at block 8: it overlaps the one of blocks 0 to 15",
    ],
    ["a DIMM over boot memory", [{ plug: "1G", address: "0x100000000" }], "overlaps boot memory"],
    ["an address within a block", [{ plug: "1G", address: "0x880001000" }], "no multiple of a memory block"],
    ["more removed than is there", [{ plug: "1G" }, { unplug: 2 }], "it takes out 2 DIMMs, and 1 are there"],
    ["boot CPUs removed", [{ removeCpus: 1 }], "it removes 1 CPUs, and 0 of 8 were added"],
  ])("%s", (_what, steps, message) => {
    expect(() => read(steps)).toThrow(message);
  });

  test.each([
    ["no JSON", "{", "mine.json: it is no JSON"],
    ["a list", "[]", "mine.json: schemaVersion: found nothing"],
    ["another version", '{"schemaVersion":2}', "schemaVersion: found 2, expected schemaVersion 1"],
    [
      "a name with blanks",
      '{"schemaVersion":1,"name":"a b","steps":[]}',
      'name: found "a b", expected a name',
    ],
    ["ages of text", `"${"x".repeat(1 << 20)}"`, "a scenario has at most"],
  ])("%s", (_what, text, message) => {
    expect(() => parseScenario(text, "mine.json")).toThrow(message);
  });
});
