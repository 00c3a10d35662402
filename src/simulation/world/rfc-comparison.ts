/** The RFC's table beside what the simulation gives, cell by cell, and what follows from the calibration. */
import { kernelFor } from "../kernels.ts";
import { type Comparison, compareRuns } from "./outcome.ts";
import { POLICIES, policyOf } from "./policy.ts";
import {
  BLOG_SECONDS,
  calibrate,
  calibrateBacklog,
  type Calibration,
  RFC_BLOCKS,
  RFC_SCENARIOS,
  RFC_TABLE,
  RFC_TOLERANCE,
  type RfcRow,
  type RfcScenario,
} from "./rfc.ts";
import { type PolicyRun, runPolicy, type TimedChange } from "./run.ts";
import { blocksOfGib, type Scenario, scenarioOf } from "./scenario.ts";

/** One cell of the table. Seconds. */
export interface RfcCell {
  readonly policy: RfcRow["policy"];
  readonly scenario: RfcScenario;
  readonly rfc: number;
  readonly here: number;
  /** `here / rfc - 1`. */
  readonly off: number;
  /** Whether it is within {@link RFC_TOLERANCE}. */
  readonly holds: boolean;
}

/** Something that was not calibrated, beside what was published of it. */
export interface RfcPrediction {
  readonly what: string;
  readonly here: number;
  readonly unit: "s" | "reloads" | "ms";
  /** What was published; undefined where nothing was. */
  readonly published: number | undefined;
  readonly source: string;
  readonly note: string;
}

/** Everything that `simulate rfc` tells. */
export interface RfcComparison {
  readonly calibrations: readonly Calibration[];
  readonly cells: readonly RfcCell[];
  /** RHEL 7's row once more, read as the end of kdump's backlog. */
  readonly backlog: { readonly calibration: Calibration; readonly cells: readonly RfcCell[] };
  readonly predictions: readonly RfcPrediction[];
  /** Every policy in both scenarios; those without a row of their own on RHEL 8's guest. */
  readonly scenarios: readonly RfcScenarioRuns[];
}

/** One scenario under every policy. */
export interface RfcScenarioRuns {
  readonly scenario: Scenario;
  readonly comparison: Comparison;
  /** Every change of the machine, by policy; empty where they were not asked for. */
  readonly traces: ReadonlyMap<string, readonly TimedChange[]>;
}

/** Other ways of adding 480 GiB: DIMMs, and GiB of each. */
const OTHER_SIZES: readonly (readonly [number, number])[] = [
  [60, 8],
  [240, 2],
];

/** Simulates both scenarios under every policy, and compares. @param traced - whether every change is kept. */
export function compareWithRfc(traced = false): RfcComparison {
  const calibrations = RFC_TABLE.map(calibrate);
  const traces = new Map(RFC_SCENARIOS.map((name) => [name, new Map<string, TimedChange[]>()]));
  const runs = new Map<RfcScenario, readonly PolicyRun[]>(
    RFC_SCENARIOS.map((name) => [
      name,
      POLICIES.map((policy) => {
        const trace: TimedChange[] | undefined = traced ? [] : undefined;
        if (trace) traces.get(name)!.set(policy.name, trace);
        return simulate(policy.name, scenarioOf(name), costsFor(policy.name, calibrations), trace);
      }),
    ]),
  );
  const find = (policy: string, scenario: RfcScenario): PolicyRun =>
    runs.get(scenario)!.find((run) => run.policy.name === policy)!;
  const row7 = RFC_TABLE.find(({ policy }) => policy === "rhel7")!;
  const backlog = calibrateBacklog(row7);
  return {
    calibrations,
    cells: RFC_TABLE.flatMap((row) => cellsOf(row, (name) => find(row.policy, name).processed)),
    backlog: {
      calibration: backlog,
      cells: cellsOf(row7, (name) => simulate("rhel7", scenarioOf(name), backlog).quiet),
    },
    predictions: predict(find, calibrations),
    scenarios: RFC_SCENARIOS.map((name) => ({
      scenario: scenarioOf(name),
      comparison: compareRuns(runs.get(name)!),
      traces: traces.get(name)!,
    })),
  };
}

/** @param time - ms that a scenario took. */
function cellsOf(row: RfcRow, time: (scenario: RfcScenario) => number): readonly RfcCell[] {
  return RFC_SCENARIOS.map((scenario) => {
    const rfc = row.seconds[scenario];
    const here = time(scenario) / 1000;
    const off = here / rfc - 1;
    return { policy: row.policy, scenario, rfc, here, off, holds: Math.abs(off) <= RFC_TOLERANCE };
  });
}

/** Whoever has no row is simulated on the guest that RHEL 8's row is of. */
function costsFor(policy: string, calibrations: readonly Calibration[]): Calibration {
  return (
    calibrations.find((calibration) => calibration.policy === policy) ??
    calibrations.find((calibration) => calibration.policy === "rhel8")!
  );
}

function simulate(
  name: string,
  scenario: Scenario,
  { costs }: Calibration,
  trace?: TimedChange[],
): PolicyRun {
  const policy = policyOf(name);
  return runPolicy({
    scenario,
    policy,
    costs,
    kernel: kernelFor(policy.needsCrashHotplug),
    call: "kexec_file_load",
    trace,
  });
}

function predict(
  find: (policy: string, scenario: RfcScenario) => PolicyRun,
  calibrations: readonly Calibration[],
): readonly RfcPrediction[] {
  const [one, many] = RFC_SCENARIOS;
  const rhel8 = RFC_TABLE.find(({ policy }) => policy === "rhel8")!;
  const rhel7 = calibrations.find(({ policy }) => policy === "rhel7")!;
  const scaling = simulate("none", scenarioOf(many), rhel7).plugged / 1000;
  return [
    {
      what: "reloads of RHEL 8, 1 DIMM",
      here: find("rhel8", one).counts.loads,
      unit: "reloads",
      published: rhel8.reloads[one],
      source: "RFC: 86 s / 4 s",
      note: "udev is busy all the time: each cycle of the throttler lasts 4 s",
    },
    {
      what: "reloads of RHEL 8, 480 DIMMs",
      here: find("rhel8", many).counts.loads,
      unit: "reloads",
      published: rhel8.reloads[many],
      source: "RFC: 419 s / 4 s",
      note: "udev's queue is empty between DIMMs, so settle ends early: a cycle lasts little more than 1 s; the RFC takes 4 s for granted",
    },
    {
      what: "480 DIMMs added, kdump not waited for",
      here: scaling,
      unit: "s",
      published: BLOG_SECONDS.scaling,
      source: "Oracle's blog, 2024-01-09",
      note: "does not fit: with one cost for each DIMM and one for each block, RHEL 7's row needs more for a DIMM than the article says",
    },
    {
      what: "kdump busy under RHEL 7, 480 DIMMs, if each reload takes 0.6 s",
      here: find("rhel7", many).quiet / 1000,
      unit: "s",
      published: BLOG_SECONDS.kdumpBusy,
      source: "Oracle's blog, 2024-01-09",
      note: "does not fit: 3,840 real reloads take far longer, so most of them did nothing (before October 2019 a reload returned at once where nothing was loaded)",
    },
    {
      what: "one reload, if 3,840 of them took those 389 s",
      here: (BLOG_SECONDS.kdumpBusy * 1000) / RFC_BLOCKS,
      unit: "ms",
      published: 500,
      source: "kdump-utils 227c185: 0.5 to 1 s",
      note: "arithmetic, and it does not fit either",
    },
    ...OTHER_SIZES.flatMap(([dimms, gib]) =>
      calibrations.map((calibration): RfcPrediction => {
        const scenario: Scenario = {
          ...scenarioOf(many),
          steps: [{ step: "plug", blocks: blocksOfGib(gib), count: dimms, pace: "settled" }],
        };
        return {
          what: `${calibration.policy}, ${dimms} DIMMs of ${gib} GiB`,
          here: simulate(calibration.policy, scenario, calibration).processed / 1000,
          unit: "s",
          published: undefined,
          source: "nobody has published it",
          note: "other sizes, for who can measure them",
        };
      }),
    ),
  ];
}

/** What in the RFC's own figures does not fit together, each with what shows it. */
export const RFC_INCONSISTENCIES: readonly string[] = [
  "The figures in parentheses are 3840 divided by the seconds: memory blocks per second. They are called reloads per second, also for RHEL 8, which reloads 21 and 105 times.",
  "9.87 is printed as 9.8, the others are rounded; 86/4 = 21.5 becomes 21, 419/4 = 104.75 becomes 105.",
  "RHEL 8's 21 and 105 reloads are not counted but seconds divided by 4: a cycle lasts 4 s only while udev's queue is never empty.",
  "RHEL 7's 3,840 reloads in 181 s leave 47 ms for each; a reload takes 0.5 to 1 s.",
  "About 400 s for 480 DIMMs are said to be round trips between QEMU and guest; the author's later article has the DIMMs there after 144 s and kdump busy for 389 s.",
  "480 DIMMs cannot be had: QEMU has at most 256 DIMM slots (ACPI_MAX_RAM_SLOTS).",
  "All of a DIMM is in /proc/iomem before its first block is online: with one DIMM the first reload describes all 480 GiB, the other 3,839 change nothing.",
  "The layout is said to be in vmcoreinfo; it is in the ELF core header (elfcorehdr=), read from /proc/iomem and crash_notes.",
  "ADD and REMOVE are said to trigger reloads; the rules that are quoted use online and offline for memory.",
  "Ubuntu's PROGRAM is called equivalent to RHEL 7: it blocks udev's worker for the whole reload, and one failed load turns it off for good.",
];
