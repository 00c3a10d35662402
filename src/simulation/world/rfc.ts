/**
 * The RFC's table (Linux, December 2020), and the costs with which this simulation gives it.
 *
 * Four numbers are calibrated with two parameters for each row, so that they come out says nothing. What is then
 * predicted, reload counts above all, can be held against what the RFC and its author's later article say.
 */
import { type Costs, DEFAULT_COSTS, plainCosts } from "./costs.ts";

/** The RFC's two ways of going from 32 to 512 GiB: names of scenarios. */
export const RFC_SCENARIOS = ["rfc-1x480", "rfc-480x1"] as const;

/** One of them. */
export type RfcScenario = (typeof RFC_SCENARIOS)[number];

/** One row of the table. */
export interface RfcRow {
  readonly policy: "rhel7" | "rhel8";
  /** "the number of seconds it took for the system to process all of the 3840 memblocks". */
  readonly seconds: Readonly<Record<RfcScenario, number>>;
  /** The figure in parentheses: "kdump unload-then-reload operations per second". */
  readonly perSecond: Readonly<Record<RfcScenario, number>>;
  /** Reloads, as the RFC infers them from the seconds. */
  readonly reloads: Readonly<Record<RfcScenario, number>>;
}

/** The table, as it stands in the RFC. */
export const RFC_TABLE: readonly RfcRow[] = [
  {
    policy: "rhel7",
    seconds: { "rfc-1x480": 181, "rfc-480x1": 389 },
    perSecond: { "rfc-1x480": 21.2, "rfc-480x1": 9.8 },
    reloads: { "rfc-1x480": 3840, "rfc-480x1": 3840 },
  },
  {
    policy: "rhel8",
    seconds: { "rfc-1x480": 86, "rfc-480x1": 419 },
    perSecond: { "rfc-1x480": 44.7, "rfc-480x1": 9.2 },
    reloads: { "rfc-1x480": 21, "rfc-480x1": 105 },
  },
];

/** Memory blocks of 480 GiB. */
export const RFC_BLOCKS = 3840;
const RFC_DIMMS = 480;
/** The same author, Oracle's blog of 2024-01-09: the 480 DIMMs were there after so long, and kdump was busy so long. */
export const BLOG_SECONDS = { scaling: 144, kdumpBusy: 389 } as const;
/** A cell that is off by more is a failure. */
export const RFC_TOLERANCE = 0.1;

/** Costs that were made to fit, ms. */
export interface Calibration {
  readonly policy: RfcRow["policy"];
  /** Each with its name among {@link Costs} and what it stands for. */
  readonly calibrated: readonly {
    readonly cost: keyof Costs;
    readonly value: number;
    readonly meaning: string;
  }[];
  readonly costs: Costs;
}

/**
 * T = n * t + 3840 * c for n DIMMs: t for each DIMM, c for each block, served by PID 1 one after the other. Two cells of
 * a row give both.
 */
export function calibrate({ policy, seconds }: RfcRow): Calibration {
  const one = seconds["rfc-1x480"] * 1000;
  const many = seconds["rfc-480x1"] * 1000;
  const perDimm = (many - one) / (RFC_DIMMS - 1);
  const perBlock = (one - perDimm) / RFC_BLOCKS;
  return {
    policy,
    calibrated: [
      { cost: "plugDimm", value: perDimm, meaning: "from device_add until the kernel has added a DIMM" },
      {
        cost: "systemdRun",
        value: perBlock,
        meaning:
          "all that is done one after the other for a block: is-active, systemd-run, programs of its rules",
      },
    ],
    costs: { ...serialOnly(), plugDimm: perDimm, systemdRun: perBlock },
  };
}

/**
 * Another reading of RHEL 7's row, which gives the same two numbers: they are the end of kdump's backlog, as the
 * author's article has it. Reloads follow each other, and each takes longer the more DIMMs there are; DIMMs come
 * every 300 ms (480 in 144 s: an input here).
 */
export function calibrateBacklog({ policy, seconds }: RfcRow): Calibration {
  const plugDimm = (BLOG_SECONDS.scaling * 1000) / RFC_DIMMS;
  const one = (seconds["rfc-1x480"] * 1000 - plugDimm) / RFC_BLOCKS;
  const many = (seconds["rfc-480x1"] * 1000 - plugDimm) / RFC_BLOCKS;
  const perDimm = backlogSlope(one, many, plugDimm);
  return {
    policy,
    calibrated: [
      { cost: "load", value: one - perDimm, meaning: "a whole reload without DIMMs" },
      { cost: "loadPerDimm", value: perDimm, meaning: "what a reload takes longer for each DIMM" },
    ],
    costs: {
      ...serialOnly(),
      plugDimm,
      unload: 0,
      reloadWork: 0,
      load: one - perDimm,
      loadCall: one - perDimm,
      loadPerDimm: perDimm,
    },
  };
}

/**
 * The slope with which 3840 reloads, each begun with as many DIMMs as have come by then, take `many` each on average;
 * with one DIMM a reload takes `one`.
 */
function backlogSlope(one: number, many: number, plugDimm: number): number {
  let low = 0;
  let high = many;
  for (let i = 0; i < 60; i++) {
    const slope = (low + high) / 2;
    let time = plugDimm;
    for (let block = 0; block < RFC_BLOCKS; block++) {
      // A block is there when its DIMM is.
      time = Math.max(time, (Math.floor(block / 8) + 1) * plugDimm);
      const dimms = Math.min(RFC_DIMMS, Math.floor(time / plugDimm));
      time += one + slope * (dimms - 1);
    }
    if ((time - plugDimm) / RFC_BLOCKS > many) high = slope;
    else low = slope;
  }
  return (low + high) / 2;
}

/** Costs in which nothing but what is calibrated takes a worker's or the kernel's time. */
function serialOnly(): Costs {
  return {
    ...plainCosts(DEFAULT_COSTS),
    plugBlock: 0,
    onlineBlock: 0,
    udevLatency: 0,
    udevEvent: 0,
    program: 0,
    isActive: 0,
    systemdRun: 0,
    loadPerDimm: 0,
  };
}
