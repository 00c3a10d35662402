/** Policies in real guests, side by side: what each cost, and beside it what was predicted. */
import type { MeasuredCosts } from "../lab/policies/costs.ts";
import { findings } from "../lab/policies/predict.ts";
import type { PolicyFigures, PolicyRunResult } from "../lab/policy-run.ts";
import { SCHEMA_VERSION } from "./json.ts";
import type { LabRunSetting } from "./lab-run.ts";
import { columns, printable, seconds } from "./text.ts";

/** One run, and what somebody said before that it would give. */
export interface PolicyRunReport {
  readonly result: PolicyRunResult;
  readonly prediction?: PolicyFigures | undefined;
}

/** The table, for people. All runs are of one kernel and of the same DIMMs. */
export function policyRunsText(setting: LabRunSetting, runs: readonly PolicyRunReport[]): string {
  const { result } = runs[0]!;
  const { case: wanted, blockBytes, udev } = result;
  const sizes = [...new Set(wanted.dimmsMiB)].join(" and ");
  const title = [
    `Linux ${printable(result.release)} under QEMU ${setting.qemu} (${setting.accelerator}), systemd-udevd ${udev.version} of ${udev.suite}, capture kernel loaded by ${wanted.load} (kexec-tools ${setting.kexecTools})`,
    `Guest of ${wanted.ramMiB} MiB; ${wanted.dimmsMiB.length} DIMMs of ${sizes} MiB plugged by somebody else: ${result.blocks} blocks of ${blockBytes / 2 ** 20} MiB`,
  ].join("\n");
  const gap = Math.max(...runs.map((run) => run.result.resolution.worstGapMs));
  const median = Math.max(...runs.map((run) => run.result.resolution.medianGapMs));
  const notes = [
    `Seen from outside in the guest's RAM: every ${median.toFixed(1)} ms, at worst after ${gap.toFixed(1)} ms`,
    ...(result.kernelUpdates ? ["This kernel rewrites the header by itself, whatever the policy does"] : []),
    ...(runs.some(({ prediction }) => prediction)
      ? ["In brackets: what the simulation says, fed with the costs of that very run"]
      : []),
    ...runs.flatMap(({ result: run, prediction }) =>
      (prediction ? findings(run, prediction) : []).map(
        (finding) => `${run.case.policy}: more than 25 % from what was predicted: ${finding}`,
      ),
    ),
    ...runs.flatMap(
      ({
        result: {
          case: { policy },
          failures,
        },
      }) => failures.map((failure) => `${policy}: ${printable(failure)}`),
    ),
  ];
  const lines = notes.map((note) => `  ${note}\n`).join("");
  return `${title}\n\n${columns(policyRunRows(runs), "  ")}\n${lines}`;
}

/** Every figure and every cost, line by line; the first line names the policies. */
export function policyRunRows(runs: readonly PolicyRunReport[]): readonly (readonly string[])[] {
  return [...figureRows(runs), ...costRows(runs)];
}

function figureRows(runs: readonly PolicyRunReport[]): readonly (readonly string[])[] {
  const row = (name: string, cell: (result: PolicyRunResult) => string): readonly string[] => [
    name,
    ...runs.map(({ result }) => cell(result)),
  ];
  const figure = (name: string, cell: (figures: PolicyFigures) => string): readonly string[] => [
    name,
    ...runs.map(({ result, prediction }) =>
      prediction ? `${cell(result.figures)} (${cell(prediction)})` : cell(result.figures),
    ),
  ];
  return [
    row("", (result) => result.case.policy),
    row("uevents of memory", ({ events }) => String(events)),
    figure("reloads", ({ reloads }) => String(reloads)),
    figure("no dump, in all", ({ blindMs }) => duration(blindMs)),
    figure("  longest", ({ longestBlindMs }) => duration(longestBlindMs)),
    figure("  windows", ({ blindWindows }) => String(blindWindows)),
    figure("incomplete dump, in all", ({ staleMs }) => duration(staleMs)),
    figure("  longest", ({ longestStaleMs }) => duration(longestStaleMs)),
    figure("  missing", (figures) => `${(figures.missingByteSeconds / 2 ** 30).toFixed(2)} GiB s`),
    figure("accurate after", ({ accurateAfterMs }) =>
      accurateAfterMs === undefined ? "never" : duration(accurateAfterMs),
    ),
    row("at rest after", ({ runMs }) => duration(runMs)),
    row("kdump at the end", ({ verdict }) => verdict),
    row("as it should be", ({ failures }) => (failures.length === 0 ? "yes" : "NO")),
  ];
}

const COST_WORDS: readonly (readonly [name: string, cost: keyof MeasuredCosts])[] = [
  ["cost of a DIMM's hot-add", "hotAddMs"],
  ["  for one block", "hotAddPerBlockMs"],
  ["until its first block is online", "firstOnlineMs"],
  ["from block to block online", "onlineBlockMs"],
  ["an idle udevd's event", "udevEventMs"],
  ["until an online event is done", "onlineEventMs"],
  ["until all of them are done", "onlineEventsMs"],
  ["until the first one's program", "programStartMs"],
  ["a reload", "reloadMs"],
  ["  unload", "unloadMs"],
  ["  work", "workMs"],
  ["  system call", "loadMs"],
  ["the kernel's rewrite", "kernelUpdateMs"],
  ["our reaction", "reactionMs"],
];

/** Costs that at least one run had. */
function costRows(runs: readonly PolicyRunReport[]): readonly (readonly string[])[] {
  return COST_WORDS.map(([name, cost]) => [
    name,
    ...runs.map(({ result: { costs } }) => (costs[cost] === undefined ? "-" : duration(costs[cost]))),
  ]).filter(([, ...cells]) => cells.some((cell) => cell !== "-"));
}

/** Milliseconds up to a second, else seconds. */
function duration(ms: number): string {
  return ms < 1000 ? `${ms.toFixed(1)} ms` : seconds(ms);
}

/** `lab run --policy --json`. */
export function policyRunsJson(
  setting: LabRunSetting,
  runs: readonly PolicyRunReport[],
): Readonly<Record<string, unknown>> {
  return {
    schemaVersion: SCHEMA_VERSION,
    ...setting,
    runs: runs.map(({ result, prediction }) => ({
      ...result,
      figures: figuresJson(result.figures),
      costs: Object.fromEntries(COST_WORDS.map(([, cost]) => [cost, result.costs[cost] ?? null])),
      installs: result.installs.map((install) => ({
        ...install,
        pauseMicroseconds: install.pauseMicroseconds ?? null,
        reactionMs: install.reactionMs ?? null,
      })),
      prediction: prediction ? figuresJson(prediction) : null,
      findings: prediction ? findings(result, prediction) : [],
    })),
  };
}

function figuresJson(figures: PolicyFigures): Readonly<Record<string, unknown>> {
  return { ...figures, accurateAfterMs: figures.accurateAfterMs ?? null };
}
