/**
 * What the simulation says that a run gives, fed with what things cost in that very run: the costs are the run's, the
 * mechanism is the simulation's.
 */
import { parseDialect } from "../../rules/dialect.ts";
import { recognise } from "../../rules/kdump-command.ts";
import { ruleSetOf } from "../../rules/policies/policy.ts";
import { BLOCK_SIZE } from "../../simulation/dimms.ts";
import { kernelFor, type KernelModel } from "../../simulation/kernels.ts";
import { type Costs, DEFAULT_COSTS, plainCosts } from "../../simulation/world/costs.ts";
import { type Policy, policyOf } from "../../simulation/world/policy.ts";
import { type PolicyRun, runPolicy } from "../../simulation/world/run.ts";
import type { Scenario, ScenarioStep } from "../../simulation/world/scenario.ts";
import { type Interval, longest, stretches, sumsOf } from "../../simulation/world/timeline.ts";
import { MeasurementError } from "../errors.ts";
import { type LabPolicy, labPolicy } from "./policy.ts";
import type { PolicyFigures, PolicyRunResult } from "../policy-run.ts";

/** vCPUs of the lab's guests. */
const CPUS = 2;
/** Between two figures that differ by less nobody can tell on such machines, whatever their ratio, ms. */
const NOISE_MS = 30;
/** A figure further away from its prediction is a finding. */
const TOLERANCE = 0.25;

/** @throws {MeasurementError} where the run's memory blocks are not those that are simulated. */
export function predictRun(result: PolicyRunResult): PolicyFigures {
  const { case: wanted, blockBytes, kernelUpdates } = result;
  if (BigInt(blockBytes) !== BLOCK_SIZE)
    throw new MeasurementError(
      `Memory blocks have ${blockBytes} bytes in that guest, simulated are blocks of ${BLOCK_SIZE}`,
    );
  const scenario: Scenario = {
    name: "lab",
    title: "what was plugged in the lab",
    bootBlocks: Math.ceil(wanted.ramMiB / 128),
    cpus: CPUS,
    steps: stepsOf(result),
  };
  const run = runPolicy({
    scenario,
    policy: policyIn(result),
    costs: costsOf(result),
    kernel: kernelOf(kernelUpdates),
    call: wanted.load,
  });
  const changing = untilLastChange(run);
  const { blindSeconds, longestBlindSeconds, blindWindows, staleSeconds, missingByteSeconds } =
    sumsOf(changing);
  return {
    reloads: run.counts.loads,
    blindMs: blindSeconds * 1000,
    longestBlindMs: longestBlindSeconds * 1000,
    blindWindows,
    staleMs: staleSeconds * 1000,
    longestStaleMs: longest(stretches(changing, "stale")),
    missingByteSeconds,
    accurateAfterMs: run.accurate,
  };
}

/** What stays wrong for good is counted until nothing changes any more, as in a real guest. */
function untilLastChange({ intervals, final }: PolicyRun): readonly Interval[] {
  const last = intervals.at(-1);
  const atRest = last?.condition === final.condition && last.missingBytes === final.missingBytes;
  return atRest ? intervals.slice(0, -1) : intervals;
}

/**
 * Figures of a run that are further from `predicted` than the noise of the lab: one clause each. The simulation lets
 * nothing wait for a CPU, so it is said where the guest had other things to do.
 */
export function findings(
  { figures: measured, spans, onlineAt }: Pick<PolicyRunResult, "figures" | "spans" | "onlineAt">,
  predicted: PolicyFigures,
): readonly string[] {
  const found: string[] = [];
  const compare = (
    name: string,
    seen: number | undefined,
    said: number | undefined,
    noise: number,
    unit: string,
    context = "",
  ): void => {
    const same =
      seen === undefined || said === undefined
        ? seen === said
        : Math.abs(seen - said) <= Math.max(noise, TOLERANCE * seen);
    const text = (value: number | undefined): string =>
      value === undefined ? "never" : `${value.toFixed(0)}${unit}`;
    if (!same) found.push(`${name}: ${text(seen)}, predicted ${text(said)}${context}`);
  };
  compare("reloads", measured.reloads, predicted.reloads, 0, "");
  compare("no dump, in all", measured.blindMs, predicted.blindMs, NOISE_MS, " ms");
  const longestSpan = spans.find(
    ({ state, start, end }) => state === "blind" && end - start === measured.longestBlindMs,
  );
  const busy = longestSpan !== undefined && longestSpan.start < (onlineAt.at(-1) ?? 0);
  const context = busy ? " (it began while the guest brought memory online)" : "";
  compare(
    "longest without dump",
    measured.longestBlindMs,
    predicted.longestBlindMs,
    NOISE_MS,
    " ms",
    context,
  );
  compare("incomplete dump, in all", measured.staleMs, predicted.staleMs, NOISE_MS, " ms");
  compare("accurate after", measured.accurateAfterMs, predicted.accurateAfterMs, NOISE_MS, " ms");
  return found;
}

/** The policy with the rules and the udev that the guest had: who brings memory online is the same for all there. */
function policyIn({ case: { policy: name }, udev }: PolicyRunResult): Policy {
  const dialect = parseDialect(/^\d+/.exec(udev.version)?.[0] ?? "");
  return { ...policyOf(name), rules: ruleSetOf(labPolicy(name).rules, dialect) };
}

/** The kernel of the guest as far as it matters: memory goes online by udev's hand in the lab, on all of them. */
function kernelOf(updates: boolean): KernelModel {
  return { ...kernelFor(updates), autoOnline: false };
}

/** DIMMs come when they came. */
function stepsOf({ plugs, blockBytes }: PolicyRunResult): readonly ScenarioStep[] {
  return plugs.map(({ added, bytes }, i): ScenarioStep => {
    const next = plugs[i + 1]?.at;
    return {
      step: "plug",
      blocks: bytes / blockBytes,
      count: 1,
      pace: next === undefined ? 0 : Math.max(0, next - added),
    };
  });
}

function startsOnly({ rules }: LabPolicy): boolean {
  return rules.some(({ command = "" }) => recognise(command)?.detached === true);
}

function costsOf({ costs, case: wanted, blocks }: PolicyRunResult): Costs {
  const onlineBlock = costs.onlineBlockMs ?? 0;
  const udevLatency = Math.max(0, (costs.firstOnlineMs ?? 0) - onlineBlock);
  // children_max of systemd 247 and newer (udev-manager.c).
  const workers = Math.min(16 + 2 * CPUS, Math.max(10, Math.floor(wanted.ramMiB / 128)));
  const untilProgram = Math.max(0, (costs.programStartMs ?? 0) - udevLatency);
  // What a rule only starts keeps no worker: the first one's start says nothing of how long an event does.
  const detached = startsOnly(labPolicy(wanted.policy));
  const keptWorker = ((costs.onlineEventsMs ?? 0) * Math.min(workers, blocks)) / blocks;
  const program = detached ? Math.min(untilProgram, keptWorker) : untilProgram;
  return {
    ...plainCosts(DEFAULT_COSTS),
    plugDimm: costs.hotAddMs ?? 0,
    plugBlock: 0,
    onlineBlock,
    // A guest that is busy with the DIMM lets udev wait for a CPU; how fast udev works is the idle guest's.
    udevLatency,
    udevEvent: costs.udevEventMs ?? 0,
    workers,
    program,
    isActive: 0,
    systemdRun: 0,
    transientStart: detached ? Math.max(0, untilProgram - program) : 0,
    unload: costs.unloadMs ?? 0,
    reloadWork: costs.workMs ?? 0,
    load: costs.loadMs ?? 0,
    loadCall: costs.loadMs ?? 0,
    loadPerDimm: 0,
    handler: costs.kernelUpdateMs ?? 0,
    reaction: costs.reactionMs ?? 0,
  };
}
