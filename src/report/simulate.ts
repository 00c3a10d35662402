/** What policies cost in a scenario, as a table and as JSON. Everything here says that it is a simulation. */
import type { Costs, SourcedCosts } from "../simulation/world/costs.ts";
import type { Comparison, PolicyOutcome } from "../simulation/world/outcome.ts";
import type { Scenario } from "../simulation/world/scenario.ts";
import type { SweepRow } from "../simulation/world/sweep.ts";
import type { PanicCounts } from "../targets/simulated/panics.ts";
import { SCHEMA_VERSION } from "./json.ts";
import { columns, printable } from "./text.ts";

/** What was simulated. */
export interface SimulationSetting {
  readonly scenario: Scenario;
  readonly load: string;
  /** The numbers that were used, and where they come from; given ones have no source. */
  readonly costs: Costs;
  readonly sources: SourcedCosts;
}

/** Sampled panics of the machine of bytes by policy; empty where none were asked for. */
export type SampledPanics = ReadonlyMap<string, PanicCounts>;

/** What {@link comparisonRow} has in its columns. */
export const COMPARISON_HEAD = [
  "policy",
  "uevents",
  "reloads",
  "installs",
  "blind s",
  "longest",
  "windows",
  "stale s",
  "GiB x s missing",
  "copied",
  "accurate after",
  "no dump",
  "incomplete",
  "complete",
] as const;

/** `simulate SCENARIO`, for people. */
export function simulationText(
  { scenario, load }: SimulationSetting,
  { windowSeconds, outcomes }: Comparison,
  sampled: SampledPanics,
): string {
  const title = `Simulated: ${printable(scenario.title)} (${printable(scenario.name)}), images loaded by ${load}\n`;
  const sums = `Times in seconds from the first step on; odds of a panic at a random moment of ${windowSeconds.toFixed(1)} s\n\n`;
  const notes = outcomes.flatMap(outcomeNotes).map((note) => `  ${note}\n`);
  return `${title}${sums}${comparisonTable(outcomes)}${notes.length > 0 ? `\n${notes.join("")}` : ""}${sampledText(outcomes, sampled)}`;
}

/** One line for each policy. */
export function comparisonTable(outcomes: readonly PolicyOutcome[]): string {
  return columns([COMPARISON_HEAD, ...outcomes.map(comparisonRow)], "  ");
}

/** One policy's figures. */
export function comparisonRow(outcome: PolicyOutcome): readonly string[] {
  const { run, odds, accurateSeconds } = outcome;
  const { loads, rearms, rewrites, bytesCopied } = run.counts;
  return [
    run.policy.name,
    String(run.uevents),
    String(loads),
    String(rearms + rewrites),
    seconds(outcome.blindSeconds),
    seconds(outcome.longestBlindSeconds),
    String(outcome.blindWindows),
    seconds(outcome.staleSeconds),
    (outcome.missingByteSeconds / 2 ** 30).toFixed(1),
    copied(bytesCopied),
    accurateSeconds === undefined ? "never" : seconds(accurateSeconds),
    percent(odds.noDump),
    percent(odds.incomplete),
    percent(odds.complete),
  ];
}

/** What a table of numbers would hide; clauses. */
export function outcomeNotes({ run }: PolicyOutcome): readonly string[] {
  const { policy, killedWorkers, counts, final } = run;
  const notes: string[] = [];
  if (killedWorkers > 0) notes.push(`udev killed ${killedWorkers} workers after 180 s`);
  if (counts.failedLoads > 0) notes.push(`${counts.failedLoads} loads found the kexec lock taken`);
  if (counts.lostEvents > 0)
    notes.push(`the kernel's handler lost ${counts.lostEvents} events to a taken kexec lock`);
  if (final.condition === "blind") notes.push("in the end no capture kernel is loaded");
  else if (final.condition === "stale")
    notes.push(
      final.missingBytes > 0
        ? `in the end ${(final.missingBytes / 2 ** 30).toFixed(1)} GiB are missing from the header`
        : "in the end the header describes what is gone, or lacks CPUs",
    );
  return notes.map((note) => `${policy.name}: ${note}`);
}

function sampledText(outcomes: readonly PolicyOutcome[], sampled: SampledPanics): string {
  if (sampled.size === 0) return "";
  const rows = outcomes.flatMap(({ run, odds }) => {
    const counts = sampled.get(run.policy.name);
    if (!counts) return [];
    const total = counts.blind + counts.stale + counts.accurate;
    const cell = (count: number, share: number): string =>
      `${count} (expected ${(share * total).toFixed(1)})`;
    return [
      [
        run.policy.name,
        cell(counts.blind, odds.noDump),
        cell(counts.stale, odds.incomplete),
        cell(counts.accurate, odds.complete),
      ],
    ];
  });
  return `\nPanics of a machine of bytes at random moments\n${columns([["policy", "no dump", "incomplete", "complete"], ...rows], "  ")}`;
}

/** `simulate SCENARIO --json`. */
export function simulationJson(
  { scenario, load, costs, sources }: SimulationSetting,
  comparison: Comparison,
  sampled: SampledPanics,
): Readonly<Record<string, unknown>> {
  return {
    schemaVersion: SCHEMA_VERSION,
    simulated: true,
    scenario,
    load,
    costs: costsJson(costs, sources),
    ...comparisonJson(comparison, sampled),
  };
}

/** A comparison's fields. */
export function comparisonJson(
  { windowSeconds, outcomes }: Comparison,
  sampled: SampledPanics = new Map(),
): Readonly<Record<string, unknown>> {
  return {
    windowSeconds,
    policies: outcomes.map((outcome) => outcomeJson(outcome, sampled.get(outcome.run.policy.name))),
  };
}

function outcomeJson(
  outcome: PolicyOutcome,
  sampled: PanicCounts | undefined,
): Readonly<Record<string, unknown>> {
  const { run, intervals: _, accurateSeconds, ...sums } = outcome;
  return {
    policy: run.policy.name,
    title: run.policy.title,
    uevents: run.uevents,
    ...run.counts,
    killedWorkers: run.killedWorkers,
    ...sums,
    quietSeconds: run.quiet / 1000,
    accurateSeconds: accurateSeconds ?? null,
    final: run.final,
    ...(sampled ? { sampledPanics: sampled } : {}),
  };
}

/** The numbers that were used; given ones have no source. */
export function costsJson(
  costs: Costs,
  sources: SourcedCosts,
): Readonly<Record<string, { readonly value: number; readonly origin: string; readonly source?: string }>> {
  const given = new Map(Object.entries(costs));
  return Object.fromEntries(
    Object.entries(sources).map(([name, { value, origin, source }]) => {
      const used = given.get(name);
      return [name, used === value ? { value, origin, source } : { value: used!, origin: "given" }];
    }),
  );
}

/** `simulate --sweep`, for people. */
export function sweepText(rows: readonly SweepRow[], count: number, seed: number): string {
  const head = [
    "policy",
    "no dump",
    "incomplete",
    "blind s, median",
    "worst",
    "stale s, median",
    "worst",
    "installs",
    "never accurate",
  ];
  const body = rows.map((row) => [
    row.policy.name,
    percent(row.noDump),
    percent(row.incomplete),
    seconds(row.blind.median),
    seconds(row.blind.worst),
    seconds(row.stale.median),
    seconds(row.stale.worst),
    String(row.installs),
    `${row.neverAccurate} of ${count}`,
  ]);
  return `Simulated: ${count} random scenarios (seed ${seed}); odds of a panic at a random moment of a random scenario\n\n${columns([head, ...body], "  ")}`;
}

/** `simulate --sweep --json`. */
export function sweepJson(
  rows: readonly SweepRow[],
  count: number,
  seed: number,
): Readonly<Record<string, unknown>> {
  return {
    schemaVersion: SCHEMA_VERSION,
    simulated: true,
    scenarios: count,
    seed,
    policies: rows.map(({ policy, ...row }) => ({ policy: policy.name, ...row })),
  };
}

function seconds(value: number): string {
  return value === 0
    ? "0"
    : value < 0.01
      ? value.toFixed(4)
      : value < 10
        ? value.toFixed(2)
        : value.toFixed(1);
}

/** Nothing that can happen is printed as 0 %, and nothing as 100 % that need not. */
function percent(share: number): string {
  if (share <= 0) return "0 %";
  if (share >= 1) return "100 %";
  if (share > 0.9999) return "> 99.99 %";
  return share < 0.0001 ? "< 0.01 %" : `${(share * 100).toFixed(2)} %`;
}

function copied(bytes: number): string {
  return bytes >= 2 ** 30
    ? `${(bytes / 2 ** 30).toFixed(1)} GiB`
    : bytes >= 2 ** 20
      ? `${(bytes / 2 ** 20).toFixed(1)} MiB`
      : `${(bytes / 1024).toFixed(1)} KiB`;
}
