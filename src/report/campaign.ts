/** A campaign's table: outcomes by kernel, system call and way, with intervals. */
import { fellIntoGap, percentile, reactionsOf } from "../lab/campaign/gap.ts";
import type { Outcome } from "../lab/campaign/outcome.ts";
import type { MergedResults, TrialRecord } from "../lab/campaign/results.ts";
import { KEEPING_WAYS } from "../lab/campaign/ways.ts";
import { SCHEMA_VERSION } from "./json.ts";
import { columns, milliseconds, printable } from "./text.ts";

/** Trials of one kernel, system call and way. */
export interface CampaignRow {
  readonly kernel: string;
  readonly load: string;
  readonly way: TrialRecord["way"];
  readonly trials: readonly TrialRecord[];
}

/** Rows in the order of kernels, system calls, and ways as the report has them. */
export function campaignRows(trials: readonly TrialRecord[]): readonly CampaignRow[] {
  const rows = new Map<string, TrialRecord[]>();
  for (const trial of trials) {
    const key = `${trial.kernel} ${trial.load} ${trial.way}`;
    rows.set(key, [...(rows.get(key) ?? []), trial]);
  }
  const order = KEEPING_WAYS.map(({ name }) => name);
  return [...rows.values()]
    .map((of) => ({ kernel: of[0]!.kernel, load: of[0]!.load, way: of[0]!.way, trials: of }))
    .toSorted(
      (a, b) =>
        a.kernel.localeCompare(b.kernel, "en", { numeric: true }) ||
        a.load.localeCompare(b.load) ||
        order.indexOf(a.way) - order.indexOf(b.way),
    );
}

/**
 * Wilson's score interval: where a share lies that was `seen` times in `of`, with 95 % confidence. Unlike the
 * textbook's, it says something where nothing, or everything, was seen.
 *
 * @returns from and to, both in [0, 1]; all of it where there were no trials.
 */
export function wilson95(seen: number, of: number): readonly [low: number, high: number] {
  if (of === 0) return [0, 1];
  const z = 1.959963984540054;
  const share = seen / of;
  const scale = 1 + (z * z) / of;
  const middle = share + (z * z) / (2 * of);
  const half = z * Math.sqrt((share * (1 - share)) / of + (z * z) / (4 * of * of));
  return [Math.max(0, (middle - half) / scale), Math.min(1, (middle + half) / scale)];
}

/** The table, for people. */
export function campaignText(results: MergedResults): string {
  const { head, trials, twice } = results;
  const rows = campaignRows(trials);
  const releases = [...new Set(trials.map(({ release }) => release))].map(printable).join(", ");
  const title = `${trials.length} panics, seed ${head.seed}; ${releases || "no kernel"} under QEMU ${printable(head.qemu)} (${printable(head.accelerator)}), kexec-tools ${printable(head.kexecTools)}`;
  const head1 = [
    "kernel",
    "loaded by",
    "way",
    "panics",
    "complete",
    "incomplete",
    "no dump",
    "not complete, 95 %",
    "removed",
    "gone but claimed",
    "pages equal",
    "layouts",
    "pause, longest",
  ];
  const body = rows.map(({ kernel, load, way, trials: of }) => [
    printable(kernel),
    load,
    way,
    String(of.length),
    ...counts(of).map(String),
    interval(of.length - count(of, "complete"), of.length),
    removalsText(of),
    String(of.filter(({ claimed }) => claimed.length > 0).length),
    pagesText(of),
    String(new Set(of.map(({ kernelCode }) => kernelCode)).size),
    pauseText(of),
  ]);
  const lost = trials.reduce((sum, trial) => sum + trial.lost, 0);
  const notes = [
    ...rows.flatMap(gapText),
    ...rows.flatMap(causesText),
    ...(lost > 0 ? [`${lost} guests were lost before their panic; their trials were begun anew`] : []),
    ...(twice.length > 0
      ? [
          `${twice.length} trials were in more than one file and are counted once: ${twice.slice(0, 5).map(printable).join(", ")}`,
        ]
      : []),
    ...ourFailures(trials).map(
      ({ id, outcome, reasons, repeat }) =>
        `${printable(id)}: ${outcome}: ${reasons.map(printable).join("; ")}\n    ${printable(repeat)}`,
    ),
  ];
  return `${title}\n\n${columns([head1, ...body], "  ")}\n${columns(momentRows(rows), "  ")}${notes.map((note) => `  ${note}\n`).join("")}`;
}

const OUTCOMES: readonly Outcome[] = ["complete", "incomplete", "no-dump"];
/** Moments of panics, in their order. */
export const MOMENTS: readonly TrialRecord["moment"][] = ["before", "reaction", "during", "after"];

function count(trials: readonly TrialRecord[], outcome: Outcome): number {
  return trials.filter((trial) => trial.outcome === outcome).length;
}

function counts(trials: readonly TrialRecord[]): readonly number[] {
  return OUTCOMES.map((outcome) => count(trials, outcome));
}

/** By the moment of the panic: complete / incomplete / no dump. */
function momentRows(rows: readonly CampaignRow[]): readonly (readonly string[])[] {
  return [
    ["complete/incomplete/none", "", "", ...MOMENTS],
    ...rows.map(({ kernel, load, way, trials }) => [
      printable(kernel),
      load,
      way,
      ...MOMENTS.map((moment) => counts(trials.filter((trial) => trial.moment === moment)).join("/")),
    ]),
  ];
}

/** Where somebody else plugs there is a gap of one reaction: what it cost. */
function gapText({ kernel, load, way, trials }: CampaignRow): readonly string[] {
  if (way !== "in-place") return [];
  const reactions = reactionsOf(trials);
  const gap = trials.filter(fellIntoGap);
  const [median, worst] = [percentile(reactions, 0.5), percentile(reactions, 0.99)];
  const times =
    median === undefined || worst === undefined
      ? ""
      : ` Our reaction: ${median.toFixed(1)} ms, 99th percentile ${worst.toFixed(1)} ms (${reactions.length} times).`;
  return [
    `${printable(kernel)}, ${load}, in-place: ${gap.length} panics between a plug and our header; ${count(gap, "incomplete")} of those dumps are incomplete, ${count(gap, "no-dump")} missing.${times}`,
  ];
}

function interval(seen: number, of: number): string {
  const [low, high] = wilson95(seen, of);
  return `${percent(low)} to ${percent(high)} %`;
}

function percent(share: number): string {
  return (share * 100).toFixed(1);
}

function pagesText(trials: readonly TrialRecord[]): string {
  const compared = trials.flatMap(({ pages }) => (pages ? [pages] : []));
  const sampled = compared.reduce((sum, pages) => sum + pages.sampled, 0);
  const equal = compared.reduce((sum, pages) => sum + pages.equal, 0);
  return compared.length === 0 ? "-" : `${equal} of ${sampled}`;
}

/** DIMMs that were gone at the panic, of those whose removal had been asked for by then. */
function removalsText(trials: readonly TrialRecord[]): string {
  const { asked, gone } = removalsOf(trials);
  return asked === 0 ? "-" : `${gone} of ${asked}`;
}

function removalsOf(trials: readonly TrialRecord[]): TrialRecord["removals"] {
  return trials.reduce(
    (sum, { removals }) => ({ asked: sum.asked + removals.asked, gone: sum.gone + removals.gone }),
    { asked: 0, gone: 0 },
  );
}

function pauseText(trials: readonly TrialRecord[]): string {
  const pauses = trials.flatMap(({ installs }) =>
    installs.flatMap(({ pauseMicroseconds }) => pauseMicroseconds ?? []),
  );
  return pauses.length === 0 ? "-" : milliseconds(Math.max(...pauses));
}

/**
 * Dumps that we promised and that were not complete, but for those that the kernel has lost by its own handler, which
 * held the kexec lock: nobody else takes it there, since our ways load nothing.
 */
export function ourFailures(trials: readonly TrialRecord[]): readonly TrialRecord[] {
  return trials.filter(
    ({ way, outcome, cause }) =>
      (way === "in-place" || way === "plug") && outcome !== "complete" && cause !== "lock-held",
  );
}

/** Why dumps are missing. */
function causesText({ kernel, load, way, trials }: CampaignRow): readonly string[] {
  const causes = new Map<string, number>();
  for (const { cause } of trials) if (cause) causes.set(cause, (causes.get(cause) ?? 0) + 1);
  if (causes.size === 0) return [];
  const list = [...causes].map(([cause, times]) => `${times} ${CAUSE_WORDS[cause] ?? cause}`).join(", ");
  return [`${printable(kernel)}, ${load}, ${way}: of the missing dumps ${list}`];
}

const CAUSE_WORDS: Readonly<Record<string, string>> = {
  "not-loaded": "with nothing loaded",
  "lock-held": "while the kernel itself held the kexec lock",
  unknown: "for a reason that was not seen",
};

/** `--json`. */
export function campaignJson(results: MergedResults): Readonly<Record<string, unknown>> {
  const { head, trials, twice } = results;
  return {
    schemaVersion: SCHEMA_VERSION,
    seed: head.seed,
    qemu: head.qemu,
    kexecTools: head.kexecTools,
    accelerator: head.accelerator,
    trials: trials.length,
    twice,
    rows: campaignRows(trials).map(({ kernel, load, way, trials: of }) => ({
      kernel,
      load,
      way,
      releases: [...new Set(of.map(({ release }) => release))],
      panics: of.length,
      ...outcomesJson(of),
      notComplete95: wilson95(of.length - count(of, "complete"), of.length),
      noDump95: wilson95(count(of, "no-dump"), of.length),
      claimed: of.filter(({ claimed }) => claimed.length > 0).length,
      removals: removalsOf(of),
      lostBeforePanic: of.reduce((sum, trial) => sum + trial.lost, 0),
      causes: Object.fromEntries(
        Object.keys(CAUSE_WORDS).map((cause) => [cause, of.filter((trial) => trial.cause === cause).length]),
      ),
      layouts: new Set(of.map(({ kernelCode }) => kernelCode)).size,
      ...(way === "in-place" ? { gap: gapJson(of) } : {}),
      moments: Object.fromEntries(
        MOMENTS.map((moment) => [moment, outcomesJson(of.filter((trial) => trial.moment === moment))]),
      ),
      failed: of.filter(({ outcome }) => outcome !== "complete").map(({ id, repeat }) => ({ id, repeat })),
    })),
  };
}

function gapJson(trials: readonly TrialRecord[]): Readonly<Record<string, unknown>> {
  const reactions = reactionsOf(trials);
  const [median, worst] = [percentile(reactions, 0.5), percentile(reactions, 0.99)];
  return {
    panics: outcomesJson(trials.filter(fellIntoGap)),
    reactions: reactions.length,
    reactionMedianMs: median ?? null,
    reaction99Ms: worst ?? null,
  };
}

/** How many of `trials` gave which dump. */
export function outcomesJson(trials: readonly TrialRecord[]): Readonly<Record<string, number>> {
  const [complete = 0, incomplete = 0, noDump = 0] = counts(trials);
  return { complete, incomplete, noDump };
}
