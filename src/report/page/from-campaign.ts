/** The pages of `lab campaign`, `lab matrix` and `lab merge`: the same values as their tables. */
import { reactionsOf } from "../../lab/campaign/gap.ts";
import { MATRIX_CHANGES } from "../../lab/campaign/matrix.ts";
import type { MergedResults, TrialRecord } from "../../lab/campaign/results.ts";
import { KEEPING_WAYS, keepingWay } from "../../lab/campaign/ways.ts";
import { halfOpen, type PhysicalRange } from "../../layout/range.ts";
import { RangeSet } from "../../layout/range-set.ts";
import { campaignRows, type CampaignRow, MOMENTS, outcomesJson, ourFailures, wilson95 } from "../campaign.ts";
import { type MatrixCell, matrixCells, matrixCellText } from "../matrix.ts";
import { mapOfMoments, type Moment } from "./map-space.ts";
import type { Cell, DistributionSection, MapSection, PageModel, Section, Tone } from "./model.ts";
import type { PageSetting } from "./setting.ts";

/** Panics that a map steps through, at most. */
const MAX_PANICS_ON_MAP = 200;
/** Panics in the list of those that gave no complete dump, at most. */
const MAX_LISTED = 100;

/** The page of a campaign's or a matrix's results. */
export function campaignPage(setting: PageSetting, results: MergedResults): PageModel {
  const { head, trials, twice } = results;
  const isMatrix = head.kind === "matrix";
  const rows = campaignRows(trials);
  const reactions = distribution(
    "Reactions",
    "From the first sight of a change to the header that describes it. Only who watches while somebody else plugs has one.",
    "reaction",
    rows,
    reactionsOf,
  );
  const pauses = distribution(
    "Pauses",
    "How long the guest stood still for one install.",
    "pause",
    rows,
    (of) =>
      of.flatMap(({ installs }) =>
        installs.flatMap(({ pauseMicroseconds }) =>
          pauseMicroseconds === null ? [] : [pauseMicroseconds / 1000],
        ),
      ),
  );
  const map = panicsMap(trials);
  const failed = trials.filter(({ outcome }) => outcome !== "complete");
  const sections: (Section | undefined)[] = [
    isMatrix ? matrixSection(results) : undefined,
    trials.length === 0
      ? undefined
      : {
          kind: "outcomes",
          title: "Outcomes",
          text: waysText(rows),
          rows: rows.map((row) => {
            const { complete = 0, incomplete = 0, noDump = 0 } = outcomesJson(row.trials);
            const total = row.trials.length;
            return {
              name: nameOf(row),
              complete,
              incomplete,
              noDump,
              notComplete95: wilson95(total - complete, total),
            };
          }),
        },
    isMatrix || trials.length === 0 ? undefined : momentsTable(rows),
    trials.length === 0
      ? undefined
      : {
          kind: "moments",
          title: "When the panics came",
          rows: rows.map((row) => ({
            name: nameOf(row),
            points: row.trials.map(({ panickedMs, outcome }) => ({ at: panickedMs, outcome })),
          })),
        },
    reactions,
    pauses,
    map,
    failed.length === 0 ? undefined : failedTable(failed),
  ];
  const releases = [...new Set(trials.map(({ release }) => release))];
  return {
    title: isMatrix
      ? `Matrix: ${trials.length} panics of real guests`
      : `Campaign: ${trials.length} panics of real guests at seeded random moments`,
    lead: leadOf(trials),
    facts: [
      ["panics", String(trials.length)],
      ["seed", String(head.seed)],
      ["kernels", releases.length === 0 ? "none" : releases.join(", ")],
      ["QEMU", `${head.qemu} (${head.accelerator})`],
      ["kexec-tools", head.kexecTools],
      [
        "guests",
        `${head.freshEvery === 0 ? "none" : `one in ${head.freshEvery}`} booted for its own trial, the others started from a saved one; pages compared in one trial of ${head.pagesEvery}${head.cpus ? "; CPUs too" : ""}`,
      ],
      ["layouts", `${new Set(trials.map(({ kernelCode }) => kernelCode)).size} places of the kernel (KASLR)`],
      [
        "lost",
        `${trials.reduce((sum, { lost }) => sum + lost, 0)} guests before their panic; their trials were begun anew`,
      ],
      ...(twice.length > 0
        ? [["twice", `${twice.length} trials were in more than one file and are counted once`] as const]
        : []),
      ...setting.host,
    ],
    command: setting.command,
    sections: sections.filter((section) => section !== undefined),
    lacking: [
      [
        "Blind, stale and accurate over time",
        "a trial is looked at once, at its panic; lab run --policy watches a guest all the time",
      ],
      ...(reactions ? [] : [["Reactions", "no way that was run reacts to somebody else's plug"] as const]),
      ...(pauses ? [] : [["Pauses", "nothing was installed from outside"] as const]),
      ...(map
        ? []
        : [["Memory map", "no dump lacked memory, and none claimed memory that was gone"] as const]),
      [
        "Header before and after",
        "a line of results has no headers; --out FILE keeps those of failed trials in FILE.failed/",
      ],
    ],
  };
}

function nameOf({ kernel, load, way }: CampaignRow): string {
  return `${kernel}, ${load}, ${way}`;
}

function waysText(rows: readonly CampaignRow[]): string {
  const ways = KEEPING_WAYS.filter(({ name }) => rows.some(({ way }) => way === name));
  return `${ways.map(({ name, title }) => `${name}: ${title}`).join("; ")}.`;
}

function leadOf(trials: readonly TrialRecord[]): PageModel["lead"] {
  if (trials.length === 0) return { tone: "unknown", text: "No panic was run." };
  const promised = trials.filter(({ way }) => way === "in-place" || way === "plug");
  const failures = ourFailures(trials);
  if (promised.length === 0)
    return {
      tone: "plain",
      text: `${trials.filter(({ outcome }) => outcome === "complete").length} of ${trials.length} panics gave a complete dump; no way was run with which we promise one.`,
    };
  const complete = promised.filter(({ outcome }) => outcome === "complete").length;
  const words = `${complete} of ${promised.length} panics under the ways with which we promise a complete dump (in-place, plug) gave one`;
  return failures.length === 0
    ? {
        tone: "good",
        text: `${words}${complete === promised.length ? "" : "; the rest were lost by the kernel's own handler, which held the kexec lock"}.`,
      }
    : { tone: "bad", text: `${words}; ${failures.length} did not and should have.` };
}

function distribution(
  title: string,
  text: string,
  what: string,
  rows: readonly CampaignRow[],
  valuesOf: (trials: readonly TrialRecord[]) => readonly number[],
): DistributionSection | undefined {
  const series = rows
    .map((row) => ({ name: nameOf(row), values: valuesOf(row.trials) }))
    .filter(({ values }) => values.length > 0);
  return series.length === 0 ? undefined : { kind: "distribution", title, text, what, unit: "ms", series };
}

const MOMENT_WORDS: Readonly<Record<TrialRecord["moment"], string>> = {
  before: "before the first change",
  reaction: "within a reaction",
  during: "during the changes",
  after: "after them",
};

function momentsTable(rows: readonly CampaignRow[]): Section {
  return {
    kind: "table",
    title: "By the moment of the panic",
    text: "Complete, incomplete and missing dumps.",
    head: ["of", ...MOMENTS.map((moment) => MOMENT_WORDS[moment])],
    rows: rows.map((row) => [
      nameOf(row),
      ...MOMENTS.map((moment): Cell => {
        const of = row.trials.filter((trial) => trial.moment === moment);
        const { complete = 0, incomplete = 0, noDump = 0 } = outcomesJson(of);
        if (of.length === 0) return "-";
        const tone: Tone = complete === of.length ? "good" : noDump > 0 ? "bad" : "doubt";
        return { tone, text: `${complete} / ${incomplete} / ${noDump}` };
      }),
    ]),
  };
}

function keyOf({ kernel, load, change }: MatrixCell): string {
  return JSON.stringify([kernel, load, change]);
}

function matrixSection({ trials }: MergedResults): Section {
  const cells = matrixCells(trials);
  const ways = KEEPING_WAYS.map(({ name }) => name).filter((name) => cells.some(({ way }) => way === name));
  const rows = new Map(cells.map((cell) => [keyOf(cell), cell]));
  const changes = MATRIX_CHANGES.filter(({ name }) => cells.some(({ change }) => change === name));
  return {
    kind: "table",
    title: "Every kernel, system call and change",
    text: `${[...changes.map(({ name, title }) => `${name}: ${title}`), ...ways.map((name) => `${name}: ${keepingWay(name).title}`)].join("; ")}. A star: the dump claims memory that was gone as well.`,
    head: ["kernel", "loaded by", "change", ...ways],
    rows: [...rows].map(([key, { kernel, load, change }]) => [
      kernel,
      load,
      change,
      ...ways.map((way): Cell => {
        const of = cells.find((cell) => cell.way === way && keyOf(cell) === key);
        if (!of) return "-";
        const gave = new Set(of.trials.map(({ outcome }) => outcome));
        const tone: Tone = gave.has("no-dump") ? "bad" : gave.has("incomplete") ? "doubt" : "good";
        return { tone, text: matrixCellText(of.trials) };
      }),
    ]),
  };
}

/** What dumps lacked and claimed, panic by panic. */
function panicsMap(trials: readonly TrialRecord[]): MapSection | undefined {
  const wrong = trials.filter(({ missing, claimed }) => missing.length > 0 || claimed.length > 0);
  if (wrong.length === 0) return undefined;
  const shown = wrong.slice(0, MAX_PANICS_ON_MAP);
  const moments = shown.map((trial): Moment => {
    const missing = rangesOf(trial.missing);
    const stale = rangesOf(trial.claimed);
    return {
      text: `panic of ${trial.id}: ${trial.outcome}`,
      condition: trial.outcome === "no-dump" ? "blind" : "stale",
      classes: { missing, stale, held: pluggedBy(trial).subtract(missing).subtract(stale) },
    };
  });
  const rest = wrong.length - shown.length;
  return mapOfMoments(
    {
      title: "Memory that dumps lacked or claimed, panic by panic",
      text: `Each step is a panic whose dump lacked memory or claimed what was gone. Boot memory is not drawn: no dump lacked any unless it is shown.${rest > 0 ? ` ${rest} more such panics are not on the map.` : ""}`,
      words: {
        held: "plugged in this trial and in the dump, or gone by then",
        missing: "online, not in the dump",
        stale: "gone, and claimed by the dump",
        none: "nothing plugged there in this trial",
      },
    },
    [{ name: "", moments }],
  );
}

function rangesOf(ranges: TrialRecord["missing"]): RangeSet {
  return RangeSet.of(ranges.flatMap(({ start, end }) => rangeOf(start, end) ?? []));
}

/** A file of results may say anything. */
function rangeOf(start: string, end: string): PhysicalRange | undefined {
  const [from, to] = [BigInt(start), BigInt(end)];
  return from < to && to <= 1n << 64n ? halfOpen(from, to) : undefined;
}

/** `plug kdh-mem0 0x100000000-0x108000000 (128 MiB)`. */
function pluggedBy({ steps }: TrialRecord): RangeSet {
  return RangeSet.of(
    steps.flatMap(({ what }) => {
      const found = /^plug \S+ (0x[0-9a-f]{1,16})-(0x[0-9a-f]{1,16}) /.exec(what);
      return found ? (rangeOf(found[1]!, found[2]!) ?? []) : [];
    }),
  );
}

function failedTable(failed: readonly TrialRecord[]): Section {
  return {
    kind: "table",
    title: "Panics that gave no complete dump",
    head: ["trial", "outcome", "panic at", "why", "the same again"],
    limit: MAX_LISTED,
    rows: failed.map(({ id, outcome, panickedMs, reasons, repeat }) => [
      id,
      { tone: outcome === "no-dump" ? "bad" : "doubt", text: outcome },
      `${(panickedMs / 1000).toFixed(3)} s`,
      reasons.join("; "),
      { code: repeat },
    ]),
  };
}
