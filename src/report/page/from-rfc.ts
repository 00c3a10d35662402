/** The page of `simulate rfc`. */
import { RFC_TOLERANCE } from "../../simulation/world/rfc.ts";
import {
  RFC_INCONSISTENCIES,
  type RfcCell,
  type RfcComparison,
} from "../../simulation/world/rfc-comparison.ts";
import { leftOutText, mapOf, policiesTable, SIMULATED, timelineOf } from "./from-simulation.ts";
import type { Cell, PageModel, Section } from "./model.ts";
import type { PageSetting } from "./setting.ts";

export function rfcPage(setting: PageSetting, comparison: RfcComparison): PageModel {
  const { cells, backlog, calibrations, predictions, scenarios } = comparison;
  const lacking: (readonly [string, string])[] = [];
  const sections: Section[] = [
    {
      kind: "table",
      title: "The RFC's table beside the simulation",
      text: "Seconds until all 3,840 memory blocks were processed. Two parameters were calibrated for each row, from that row's two cells, so that they agree says nothing.",
      head: CELL_HEAD,
      rows: cells.map(cellRow),
    },
    ...scenarios.flatMap(({ scenario, comparison: one, traces }) => {
      const { section, leftOut } = mapOf(scenario.bootBlocks, one, traces);
      lacking.push(...leftOutText(leftOut).map(([what, why]) => [`${what}, ${scenario.name}`, why] as const));
      const timeline = timelineOf(`Over time: ${scenario.title}`, one);
      const table = policiesTable(one.outcomes);
      return [
        timeline,
        ...(section ? [{ ...section, title: `Memory: ${scenario.title}` }] : []),
        { ...table, title: `In numbers: ${scenario.title}` },
      ];
    }),
    {
      kind: "table",
      title: "Predicted, with nothing made to fit",
      head: ["what", "here", "published", "source", "note"],
      rows: predictions.map(({ what, here, unit, published, source, note }) => {
        const value = (number: number): string =>
          `${unit === "reloads" ? number.toFixed(0) : number.toFixed(1)} ${unit}`;
        return [what, value(here), published === undefined ? "-" : value(published), source, note];
      }),
    },
    {
      kind: "table",
      title: "RHEL 7's row read as the end of kdump's backlog",
      text: "DIMMs every 300 ms, from the author's later article: it fits as well.",
      head: CELL_HEAD,
      rows: backlog.cells.map(cellRow),
    },
    {
      kind: "table",
      title: "What was calibrated",
      head: ["policy", "cost", "ms", "meaning"],
      rows: [...calibrations, backlog.calibration].flatMap(({ policy, calibrated }) =>
        calibrated.map(({ cost, value, meaning }) => [policy, { code: cost }, value.toFixed(3), meaning]),
      ),
    },
    {
      kind: "notes",
      title: "What does not fit together in the RFC's own figures",
      notes: RFC_INCONSISTENCIES,
    },
  ];
  const off = cells.filter(({ holds }) => !holds).length;
  return {
    title: "The RFC's table (December 2020): 32 to 512 GiB, 3,840 memory blocks",
    simulated: SIMULATED,
    lead: {
      tone: off === 0 ? "good" : "bad",
      text:
        off === 0
          ? `All ${cells.length} cells of the RFC's table are met within ${RFC_TOLERANCE * 100} %, by two calibrated parameters for each row.`
          : `${off} of ${cells.length} cells of the RFC's table are off by more than ${RFC_TOLERANCE * 100} %.`,
    },
    facts: [
      ["scenarios", scenarios.map(({ scenario }) => `${scenario.title} (${scenario.name})`).join("; ")],
      [
        "guests",
        "policies without a row in the RFC are simulated on RHEL 8's guest, with reloads of 0.6 s (documented: 0.5 to 1 s)",
      ],
      ...setting.host,
    ],
    command: setting.command,
    sections,
    lacking: [
      ...lacking,
      [
        "Header before and after",
        "runs of thousands of changes are not made to a machine of bytes for this; simulate dimm-1g --report has one",
      ],
      ["Outcomes with intervals", "odds are integrated, not sampled; simulate SCENARIO --panics N samples"],
      [
        "Reactions and pauses",
        "in the simulation they are constants; lab run --policy and lab campaign measure them",
      ],
    ],
  };
}

const CELL_HEAD = ["policy", "scenario", "RFC", "here", "off", ""];

function cellRow({ policy, scenario, rfc, here, off, holds }: RfcCell): readonly Cell[] {
  return [
    policy,
    scenario,
    `${rfc} s`,
    `${here.toFixed(1)} s`,
    `${(off * 100).toFixed(1)} %`,
    holds
      ? { tone: "good", text: "within the tolerance" }
      : { tone: "bad", text: `off by more than ${RFC_TOLERANCE * 100} %` },
  ];
}
