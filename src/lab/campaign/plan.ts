/** From a seed and a number to what happens in one trial. Pure: the same two give the same plan on every machine. */
import { seededRandom } from "../../simulation/random.ts";

/** One change that somebody makes, `atMs` after the trial's clock starts. */
export type Step =
  | { readonly kind: "plug"; readonly atMs: number; readonly sizeMiB: number }
  /** `dimm` counts the plugs, from 0. */
  | { readonly kind: "unplug"; readonly atMs: number; readonly dimm: number }
  | { readonly kind: "plug-cpu"; readonly atMs: number }
  /** The CPU that the trial added. */
  | { readonly kind: "unplug-cpu"; readonly atMs: number };

/**
 * When the panic comes: before the first change; while changes are made and memory comes online; right after a
 * change, where whoever keeps kdump has to react; or when all should be at rest.
 */
export type Moment = "before" | "during" | "reaction" | "after";

/** One trial. Milliseconds. */
export interface TrialPlan {
  readonly index: number;
  /** Of this trial's own random numbers. */
  readonly seed: number;
  /** Whether it boots a guest of its own, instead of starting from a saved one. */
  readonly fresh: boolean;
  /** In the order of their times. */
  readonly steps: readonly Step[];
  readonly panic: {
    readonly moment: Moment;
    /** Of the trial's clock; where `settled`, counted from when all is at rest. */
    readonly atMs: number;
    /** Whether a removal waits until all is online, and the panic until all is at rest: kdump too, where somebody reloads it. */
    readonly settled?: boolean;
  };
  /** Whether pages of the dump are read and compared, beside its header. */
  readonly pages: boolean;
}

/** What all plans of a campaign share. */
export interface PlanOptions {
  readonly seed: number;
  /** One trial in so many, on average, boots a guest of its own; 0 for none. */
  readonly freshEvery: number;
  /** One trial in so many, on average, has its pages compared. */
  readonly pagesEvery: number;
  /** Whether some trials add a CPU too; all else is as it is without. */
  readonly cpus?: boolean | undefined;
}

const SIZES_MIB = [128, 256, 512, 1024] as const;
const BLOCK_MIB = 128;
/** From the trial's start to the first change: long enough for a panic before it. */
const LEAD_MS = 150;
const MAX_GAP_MS = 300;
/** A guest on TCG takes 10 to 25 ms to bring a block online, twice that with two guests on two cores. */
const BLOCK_MS = 40;
const SETTLE_MS = 150;
/** One DIMM's removal: its blocks go offline one by one. */
const UNPLUG_MS = 400;
/** Within it whoever watches has reacted, or is about to. */
const REACTION_MS = 80;
/** A guest that reloads per event is at it for many seconds after its memory is online. */
const AFTER_MS = 5000;
/** Share of trials with a removal. */
const UNPLUG_SHARE = 0.35;
/** Share of trials with a CPU, where there are any, and of those the share that removes it again. */
const CPU_SHARE = 0.2;
const CPU_UNPLUG_SHARE = 0.35;
/** From a CPU's plug to its removal: the guest brings it online meanwhile. */
const CPU_STAY_MS = [300, 1500] as const;
/** What is drawn for CPUs is drawn apart: DIMMs and panics are those of a campaign without CPUs. */
const CPU_SEED = 0x5bd1e995;
const MOMENTS: readonly (readonly [Moment, number])[] = [
  ["before", 0.08],
  ["reaction", 0.25],
  ["during", 0.42],
  ["after", 0.25],
];

/** The plan of trial `index` of a campaign. */
export function planTrial(index: number, options: PlanOptions): TrialPlan {
  const seed = trialSeed(options.seed, index);
  const random = seededRandom(seed);
  const between = (low: number, high: number): number => Math.round(low + random() * (high - low));
  const steps: Step[] = [];
  let at = LEAD_MS;
  const dimms = 1 + Math.floor(random() * 3);
  for (let dimm = 0; dimm < dimms; dimm++) {
    if (dimm > 0) at += between(0, MAX_GAP_MS);
    steps.push({ kind: "plug", atMs: at, sizeMiB: SIZES_MIB[Math.floor(random() * SIZES_MIB.length)]! });
  }
  const plugged = steps.reduce((sum, step) => sum + (step.kind === "plug" ? step.sizeMiB : 0), 0);
  let settled = at + SETTLE_MS + (plugged / BLOCK_MIB) * BLOCK_MS;
  if (random() < UNPLUG_SHARE) {
    // Some before the DIMM is online as a whole, most after.
    at += between(100, settled - at + 300);
    steps.push({ kind: "unplug", atMs: at, dimm: Math.floor(random() * dimms) });
    settled = Math.max(settled, at) + UNPLUG_MS;
  }
  const moment = pick(random());
  const panicAt = {
    before: () => between(0, LEAD_MS - 10),
    reaction: () => steps[Math.floor(random() * steps.length)]!.atMs + between(0, REACTION_MS),
    during: () => between(LEAD_MS, settled),
    after: () => between(settled, settled + AFTER_MS),
  }[moment]();
  // Drawn, not counted: or all of them would be in one shard.
  const oneIn = (every: number): boolean => every > 0 && random() * every < 1;
  return {
    index,
    seed,
    fresh: oneIn(options.freshEvery),
    steps: options.cpus ? withCpu(steps, seed, settled) : steps,
    panic: { moment, atMs: panicAt },
    pages: oneIn(options.pagesEvery),
  };
}

function withCpu(steps: readonly Step[], seed: number, settled: number): readonly Step[] {
  const random = seededRandom((seed ^ CPU_SEED) >>> 0);
  if (random() >= CPU_SHARE) return steps;
  const between = (low: number, high: number): number => Math.round(low + random() * (high - low));
  // Early, so that most panics come after it.
  const atMs = between(LEAD_MS, (LEAD_MS + settled) / 2);
  const cpu: Step[] = [{ kind: "plug-cpu", atMs }];
  if (random() < CPU_UNPLUG_SHARE) cpu.push({ kind: "unplug-cpu", atMs: atMs + between(...CPU_STAY_MS) });
  return [...steps, ...cpu].toSorted((a, b) => a.atMs - b.atMs);
}

/** Neighbouring numbers give seeds that have nothing in common. */
function trialSeed(seed: number, index: number): number {
  return Math.floor(seededRandom((seed ^ Math.imul(index + 1, 0x9e3779b1)) >>> 0)() * 2 ** 32);
}

function pick(random: number): Moment {
  let rest = random;
  for (const [moment, share] of MOMENTS) {
    if (rest < share) return moment;
    rest -= share;
  }
  return "during";
}

/** One machine's part of a campaign. */
export interface Shard {
  /** From 1 to `count`. */
  readonly number: number;
  readonly count: number;
}

/** The trials of 0 to `trials - 1` that belong to `shard`: disjoint, and together all of them. */
export function shardTrials(trials: number, { number, count }: Shard): readonly number[] {
  return Array.from({ length: trials }, (_, index) => index).filter((index) => index % count === number - 1);
}
