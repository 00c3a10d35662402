/** `simulate rfc`: the RFC's table beside ours. */
import { RFC_TABLE, RFC_TOLERANCE, type Calibration } from "../simulation/world/rfc.ts";
import {
  RFC_INCONSISTENCIES,
  type RfcCell,
  type RfcComparison,
  type RfcPrediction,
} from "../simulation/world/rfc-comparison.ts";
import { SCHEMA_VERSION } from "./json.ts";
import { comparisonJson, comparisonTable } from "./simulate.ts";
import { columns } from "./text.ts";

/** For people. */
export function rfcText(comparison: RfcComparison): string {
  const { calibrations, cells, backlog, predictions, scenarios } = comparison;
  const parts = [
    "Simulated: the RFC's table (32 to 512 GiB, 3,840 memory blocks), seconds until all blocks were processed\n\n",
    cellTable(cells),
    `\nCalibrated: two parameters for each row, from that row's two cells, so that they agree says nothing.\n`,
    ...calibrations.map(calibrationText),
    "\nRHEL 7's row read otherwise, as the end of kdump's backlog (DIMMs every 300 ms: from the author's later article), fits as well:\n",
    cellTable(backlog.cells),
    calibrationText(backlog.calibration),
    "\nPredicted, with nothing made to fit:\n",
    columns([["", "here", "published", "source"], ...predictions.map(predictionRow)], "  "),
    "\n",
    ...predictions
      .filter(({ published }) => published !== undefined)
      .map(({ what, note }) => `  ${what}: ${note}\n`),
    ...scenarios.map(
      ({ scenario, comparison: { windowSeconds, outcomes } }) =>
        `\nEvery policy: ${scenario.title}; odds over ${windowSeconds.toFixed(0)} s\n${comparisonTable(outcomes)}`,
    ),
    "\nPolicies without a row are simulated on RHEL 8's guest, with reloads of 0.6 s (documented: 0.5 to 1 s).\n",
    "\nWhat does not fit together in the RFC's own figures:\n",
    ...RFC_INCONSISTENCIES.map((text) => `  - ${text}\n`),
  ];
  return parts.join("");
}

function cellTable(cells: readonly RfcCell[]): string {
  return columns(
    [
      ["policy", "scenario", "RFC", "here", "off", ""],
      ...cells.map(({ policy, scenario, rfc, here, off, holds }) => [
        policy,
        scenario,
        `${rfc} s`,
        `${here.toFixed(1)} s`,
        `${(off * 100).toFixed(1)} %`,
        holds ? "" : `off by more than ${RFC_TOLERANCE * 100} %`,
      ]),
    ],
    "  ",
  );
}

function calibrationText({ policy, calibrated }: Calibration): string {
  return calibrated
    .map(({ cost, value, meaning }) => `  ${policy}: ${cost} = ${value.toFixed(3)} ms (${meaning})\n`)
    .join("");
}

function predictionRow({ what, here, unit, published, source }: RfcPrediction): readonly string[] {
  const value = (number: number): string =>
    `${unit === "reloads" ? number.toFixed(0) : number.toFixed(1)} ${unit}`;
  return [what, value(here), published === undefined ? "-" : value(published), source];
}

/** `--json`. */
export function rfcJson(comparison: RfcComparison): Readonly<Record<string, unknown>> {
  const { calibrations, cells, backlog, predictions, scenarios } = comparison;
  return {
    schemaVersion: SCHEMA_VERSION,
    simulated: true,
    table: RFC_TABLE,
    tolerance: RFC_TOLERANCE,
    cells,
    calibrated: calibrations.map(calibrationJson),
    backlog: { cells: backlog.cells, calibrated: calibrationJson(backlog.calibration) },
    predicted: predictions.map(({ published, ...rest }) => ({ ...rest, published: published ?? null })),
    scenarios: scenarios.map(({ scenario, comparison: one }) => ({
      scenario: scenario.name,
      ...comparisonJson(one),
    })),
    inconsistencies: RFC_INCONSISTENCIES,
  };
}

function calibrationJson({ policy, calibrated }: Calibration): Readonly<Record<string, unknown>> {
  return { policy, calibrated };
}
