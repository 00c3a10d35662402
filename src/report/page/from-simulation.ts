/** The page of `simulate SCENARIO`. */
import type { CoreHeader } from "../../elfcore/header.ts";
import type { Comparison, PolicyOutcome } from "../../simulation/world/outcome.ts";
import { wilson95 } from "../campaign.ts";
import {
  COMPARISON_HEAD,
  comparisonRow,
  costsJson,
  outcomeNotes,
  type SampledPanics,
  type SimulationSetting,
} from "../simulate.ts";
import { shareText } from "./draw-timeline.ts";
import type { PageModel, Section, TableSection, TimelineSection } from "./model.ts";
import type { PageSetting } from "./setting.ts";
import { MAX_STEPS } from "./map-steps.ts";
import { simulationMap, type TracedRun } from "./simulation-map.ts";

/** The header that a machine of bytes had before a policy's run and after it. */
export interface ReplayedHeaders {
  readonly policy: string;
  readonly before: CoreHeader;
  readonly after: CoreHeader;
}

/** What is simulated, in one sentence, at the top of the page. */
export const SIMULATED =
  "no real kernel ran. A model of kernel, udev and kdump in virtual time gave these figures; what is mechanism in it and what is a number is said in docs/simulation.md.";

/** @param traces - every change, by policy. @param headers - undefined where nobody replayed them. */
export function simulationPage(
  setting: PageSetting,
  simulation: SimulationSetting,
  comparison: Comparison,
  sampled: SampledPanics,
  traces: ReadonlyMap<string, TracedRun["trace"]>,
  headers: ReplayedHeaders | { readonly none: string },
): PageModel {
  const { scenario, load, costs, sources } = simulation;
  const { section: map, leftOut } = mapOf(scenario.bootBlocks, comparison, traces);
  const hasHeader = "before" in headers;
  const sections: (Section | undefined)[] = [
    timelineOf("Blind, stale and accurate over time", comparison),
    sampledSection(comparison, sampled),
    map,
    hasHeader
      ? {
          kind: "header",
          title: "The core header before and after",
          text: `As it was and as it is under policy ${headers.policy}, on a machine of bytes to which the run's changes were made.`,
          before: { words: "before the first step", header: headers.before },
          after: { words: "at the end", header: headers.after },
        }
      : undefined,
    policiesTable(comparison.outcomes),
    {
      kind: "table",
      title: "The numbers that were used",
      text: "Costs in milliseconds unless their source says otherwise.",
      head: ["cost", "value", "origin", "source"],
      rows: Object.entries(costsJson(costs, sources)).map(([name, { value, origin, source }]) => [
        { code: name },
        String(value),
        origin,
        source ?? "",
      ]),
    },
  ];
  return {
    title: `What each policy costs: ${scenario.title}`,
    simulated: SIMULATED,
    lead: leadOf(comparison),
    facts: [
      ["scenario", `${scenario.title} (${scenario.name})`],
      ["machine", `${scenario.bootBlocks} memory blocks and ${scenario.cpus} CPUs at boot`],
      ["images loaded by", load],
      ["window", `${comparison.windowSeconds.toFixed(3)} s, until nothing goes on any more under any policy`],
      ...setting.host,
    ],
    command: setting.command,
    sections: sections.filter((section) => section !== undefined),
    lacking: [
      ...(map === undefined
        ? [["Memory map", "no memory comes or goes in this scenario"] as const]
        : leftOutText(leftOut)),
      ...(hasHeader ? [] : [["Header before and after", headers.none] as const]),
      ...(sampled.size > 0
        ? []
        : [
            [
              "Outcomes with intervals",
              "the odds above are integrated over the window, not sampled; --panics N panics a machine of bytes N times",
            ] as const,
          ]),
      [
        "Reactions and pauses",
        "in the simulation they are constants (see the numbers that were used); lab run --policy and lab campaign measure them",
      ],
    ],
  };
}

/** Every policy's band. */
export function timelineOf(title: string, { windowSeconds, outcomes }: Comparison): TimelineSection {
  return {
    kind: "timeline",
    title,
    window: windowSeconds * 1000,
    bands: outcomes.map(({ run, intervals }) => ({
      name: run.policy.name,
      title: run.policy.title,
      intervals,
    })),
  };
}

/** A scenario's map. */
export function mapOf(
  bootBlocks: number,
  { windowSeconds, outcomes }: Comparison,
  traces: ReadonlyMap<string, TracedRun["trace"]>,
): ReturnType<typeof simulationMap> {
  const runs = outcomes.flatMap(({ run, intervals }) => {
    const trace = traces.get(run.policy.name);
    return trace ? [{ run, intervals, trace }] : [];
  });
  return simulationMap(bootBlocks, runs, windowSeconds * 1000);
}

/** Why policies are missing from a map. */
export function leftOutText(leftOut: readonly string[]): PageModel["lacking"] {
  if (leftOut.length === 0) return [];
  return [
    [
      `Memory map of ${leftOut.join(", ")}`,
      `together they have more than ${MAX_STEPS.toLocaleString("en")} steps; simulate SCENARIO --policy NAME gives a page of one of them`,
    ],
  ];
}

/** Every policy's figures. */
export function policiesTable(outcomes: readonly PolicyOutcome[]): TableSection {
  const notes = outcomes.flatMap(outcomeNotes);
  return {
    kind: "table",
    title: "Every policy in numbers",
    text: notes.length > 0 ? `${notes.join(". ")}.` : undefined,
    head: COMPARISON_HEAD,
    rows: outcomes.map(comparisonRow),
  };
}

function leadOf({ windowSeconds, outcomes }: Comparison): PageModel["lead"] {
  const sorted = outcomes.toSorted((a, b) => b.odds.complete - a.odds.complete);
  const [best, worst] = [sorted[0]!, sorted.at(-1)!];
  const rest = sorted.length > 1 ? `, worst ${oddsText(worst)}` : "";
  return {
    tone: "plain",
    text: `A panic at a random moment of ${windowSeconds.toFixed(1)} s: best ${oddsText(best)}${rest}.`,
  };
}

function oddsText({ run, odds }: PolicyOutcome): string {
  return `${run.policy.name} (${shareText(odds.complete)} complete, ${shareText(odds.noDump)} without a dump)`;
}

function sampledSection({ outcomes }: Comparison, sampled: SampledPanics): Section | undefined {
  if (sampled.size === 0) return undefined;
  return {
    kind: "outcomes",
    title: "Panics of a machine of bytes at random moments",
    rows: outcomes.flatMap(({ run }) => {
      const counts = sampled.get(run.policy.name);
      if (!counts) return [];
      const { blind: noDump, stale: incomplete, accurate: complete } = counts;
      return [
        {
          name: run.policy.name,
          complete,
          incomplete,
          noDump,
          notComplete95: wilson95(noDump + incomplete, noDump + incomplete + complete),
        },
      ];
    }),
  };
}
