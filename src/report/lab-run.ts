/** A lab run, the scenario without us and with us side by side. */
import type { PageEvidence } from "../lab/evidence.ts";
import type { ScenarioResult, Way } from "../lab/scenario.ts";
import { formatBytes } from "../layout/range.ts";
import type { RangeSet } from "../layout/range-set.ts";
import { auditJson } from "./audit.ts";
import { jsonBytes, jsonRange, jsonRanges, SCHEMA_VERSION } from "./json.ts";
import { columns, milliseconds, printable, seconds } from "./text.ts";

/** What a way is called in a table. */
export const WAY_WORDS: Readonly<Record<Way, string>> = {
  nothing: "without us",
  "in-place": "with us",
  plug: "plugged by us",
};

/** What a lab run ran on. */
export interface LabRunSetting {
  readonly qemu: string;
  readonly kexecTools: string;
  readonly accelerator: string;
}

/** Two lines: what was run on, and what was run. */
export function labRunTitle(setting: LabRunSetting, results: readonly ScenarioResult[]): string {
  const first = results[0]!;
  const { scenario } = first;
  return [
    `Linux ${printable(first.release)} under QEMU ${setting.qemu} (${setting.accelerator}), capture kernel loaded by ${scenario.load} (kexec-tools ${setting.kexecTools})`,
    `Guest of ${scenario.ramMiB} MiB; ${scenario.dimmsMiB.length} DIMMs of ${[...new Set(scenario.dimmsMiB)].join(" and ")} MiB added after the capture kernel was loaded`,
  ].join("\n");
}

/** What each run gave, line by line; the first line names the runs. */
export function labRunRows(results: readonly ScenarioResult[]): readonly (readonly string[])[] {
  const row = (name: string, cell: (result: ScenarioResult) => string): readonly string[] => [
    name,
    ...results.map(cell),
  ];
  return [
    row("", ({ scenario: { way } }) => WAY_WORDS[way]),
    row("memory online at the panic", ({ online }) => size(online)),
    row("memory in the dump", (r) =>
      r.outcome === "no-dump" ? "no dump" : size(r.inDump.intersect(r.online)),
    ),
    row("missing from the dump", ({ missing }) => (missing.isEmpty ? "nothing" : size(missing))),
    row(
      "hot-added pages sampled",
      ({ pages }) => `${sum(pages, (p) => p.sampled)} (${sum(pages, (p) => p.nonZero)} not zero)`,
    ),
    row("read from the dump and equal", ({ pages }) => String(sum(pages, (p) => p.equal))),
    row("read and different", ({ pages }) => String(sum(pages, (p) => p.different))),
    row("not readable", ({ pages }) => String(sum(pages, (p) => p.unreadable))),
    row("guest stood still for", ({ keeper }) =>
      keeper?.pauseMicroseconds === undefined ? "-" : milliseconds(keeper.pauseMicroseconds),
    ),
    row("bytes changed in crash memory", ({ keeper }) => (keeper ? String(keeper.bytesWritten) : "-")),
    row("the dump is", ({ outcome }) => outcome.toUpperCase()),
  ];
}

/** The side-by-side table, for people. */
export function labRunText(setting: LabRunSetting, results: readonly ScenarioResult[]): string {
  const reasons = results.flatMap((result) =>
    result.reasons.map((reason) => `  ${WAY_WORDS[result.scenario.way]}: ${reason}\n`),
  );
  const restarts = results
    .filter((r) => r.boots > 1)
    .map((r) => `  One guest had to be started ${r.boots} times before the scenario began\n`);
  const times = results.map(({ timings }) =>
    Object.entries(timings)
      .map(([name, ms]) => `${name} ${seconds(ms)}`)
      .join(", "),
  );
  return `${labRunTitle(setting, results)}\n\n${columns(labRunRows(results), "  ")}\n${reasons.join("")}${restarts.join("")}${times.map((line) => `  ${line}\n`).join("")}`;
}

/** `lab run --json`. */
export function labRunJson(
  setting: LabRunSetting,
  results: readonly ScenarioResult[],
): Readonly<Record<string, unknown>> {
  return { schemaVersion: SCHEMA_VERSION, ...setting, runs: results.map(resultJson) };
}

function resultJson(result: ScenarioResult): Readonly<Record<string, unknown>> {
  const { keeper } = result;
  return {
    scenario: result.scenario,
    release: result.release,
    boots: result.boots,
    outcome: result.outcome,
    reasons: result.reasons,
    memory: {
      online: jsonRanges(result.online),
      inDump: jsonRanges(result.inDump),
      missing: jsonRanges(result.missing),
      onlineBytes: jsonBytes(result.online.bytes),
      missingBytes: jsonBytes(result.missing.bytes),
    },
    pages: result.pages.map(({ range, ...counts }) => ({ dimm: jsonRange(range), ...counts })),
    keeper: keeper
      ? {
          access: keeper.access,
          pauseMicroseconds: keeper.pauseMicroseconds ?? null,
          bytesWritten: keeper.bytesWritten,
          before: auditJson("guest", keeper.before),
          after: auditJson("guest", keeper.after),
        }
      : null,
    timingsMs: result.timings,
  };
}

/** MiB where that is exact enough for a table. */
function size(ranges: RangeSet): string {
  return ranges.bytes >= 1n << 20n
    ? `${(Number(ranges.bytes) / 2 ** 20).toFixed(1)} MiB`
    : formatBytes(ranges.bytes);
}

function sum(pages: readonly PageEvidence[], count: (page: PageEvidence) => number): number {
  return pages.reduce((total, page) => total + count(page), 0);
}
