/** What happens to the machine: scenarios, built in and from files. */
import { BLOCK_SIZE } from "../dimms.ts";
import { SimulationError } from "../error.ts";

/** One step; steps follow each other. Times in milliseconds. */
export type ScenarioStep =
  /**
   * Adds `count` DIMMs. `every`: so long after each other; `settled`: the next one when the guest has worked on all
   * events of the last one.
   */
  | {
      readonly step: "plug";
      readonly blocks: number;
      readonly count: number;
      readonly pace: number | "settled";
      /** Where the first of them goes, in blocks from the lowest address of hot-pluggable memory; else where there is room. */
      readonly at?: number | undefined;
    }
  /** Takes out the `count` DIMMs that came last. */
  | { readonly step: "unplug"; readonly count: number; readonly pace: number | "settled" }
  | { readonly step: "add-cpus"; readonly count: number; readonly every: number }
  | { readonly step: "remove-cpus"; readonly count: number; readonly every: number }
  /** A CPU goes offline and comes back, so many times. */
  | { readonly step: "flap-cpu"; readonly times: number; readonly every: number }
  /** systemd-udev-trigger at boot: an `add` for everything that is there. */
  | { readonly step: "coldplug" }
  | { readonly step: "wait"; readonly time: number };

/** A scenario. */
export interface Scenario {
  readonly name: string;
  readonly title: string;
  /** Memory blocks at boot. */
  readonly bootBlocks: number;
  /** CPUs at boot. */
  readonly cpus: number;
  readonly steps: readonly ScenarioStep[];
}

/** Memory blocks of a whole number of GiB. */
export function blocksOfGib(gib: number): number {
  return gib * Number((1n << 30n) / BLOCK_SIZE);
}

const gib = blocksOfGib;
const base = { bootBlocks: gib(32), cpus: 8 };

/** Scenarios with a name. */
export const SCENARIOS: readonly Scenario[] = [
  {
    ...base,
    name: "rfc-1x480",
    title: "32 to 512 GiB by one DIMM of 480 GiB",
    steps: [{ step: "plug", blocks: gib(480), count: 1, pace: "settled" }],
  },
  {
    ...base,
    name: "rfc-480x1",
    title: "32 to 512 GiB by 480 DIMMs of 1 GiB",
    steps: [{ step: "plug", blocks: gib(1), count: 480, pace: "settled" }],
  },
  {
    ...base,
    name: "cpus-8-to-16",
    title: "8 to 16 CPUs",
    steps: [{ step: "add-cpus", count: 8, every: 500 }],
  },
  {
    ...base,
    name: "dimm-1g",
    title: "one DIMM of 1 GiB",
    steps: [{ step: "plug", blocks: gib(1), count: 1, pace: "settled" }],
  },
  {
    ...base,
    name: "remove-100g",
    title: "100 DIMMs of 1 GiB come, and after a minute go again",
    steps: [
      { step: "plug", blocks: gib(1), count: 100, pace: 300 },
      { step: "wait", time: 60_000 },
      { step: "unplug", count: 100, pace: 300 },
    ],
  },
  {
    ...base,
    name: "cpu-flap",
    title: "one CPU goes offline and online again, 60 times within a minute",
    steps: [{ step: "flap-cpu", times: 60, every: 1000 }],
  },
  {
    ...base,
    name: "coldplug",
    title: "boot: udev is told of 256 memory blocks and 8 CPUs that were always there",
    steps: [{ step: "coldplug" }],
  },
];

/** The built-in scenario of that name. @throws {SimulationError} which lists the names. */
export function scenarioOf(name: string): Scenario {
  const scenario = SCENARIOS.find((candidate) => candidate.name === name);
  if (scenario) return scenario;
  throw new SimulationError(
    `scenario ${JSON.stringify(name)}`,
    `expected one of ${SCENARIOS.map((known) => known.name).join(", ")}, "rfc", or a file`,
  );
}
