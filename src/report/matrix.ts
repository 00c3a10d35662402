/** The matrix: kernels, system calls and changes by ways. */
import { changeOf, MATRIX_CHANGES } from "../lab/campaign/matrix.ts";
import type { MergedResults, TrialRecord } from "../lab/campaign/results.ts";
import { KEEPING_WAYS } from "../lab/campaign/ways.ts";
import { outcomesJson } from "./campaign.ts";
import { SCHEMA_VERSION } from "./json.ts";
import { columns, printable } from "./text.ts";

/** One cell: panics of one kernel, system call, change and way. */
export interface MatrixCell {
  readonly kernel: string;
  readonly release: string;
  readonly load: string;
  readonly change: string;
  readonly way: string;
  readonly trials: readonly TrialRecord[];
}

/** Cells in the order of kernels, system calls, changes and ways. */
export function matrixCells(trials: readonly TrialRecord[]): readonly MatrixCell[] {
  const cells: MatrixCell[] = [];
  const kernels = [...new Set(trials.map(({ kernel }) => kernel))].toSorted((a, b) =>
    a.localeCompare(b, "en", { numeric: true }),
  );
  const loads = [...new Set(trials.map(({ load }) => load))].toSorted();
  for (const kernel of kernels)
    for (const load of loads)
      for (const change of MATRIX_CHANGES)
        for (const { name: way } of KEEPING_WAYS) {
          const of = trials.filter(
            (trial) =>
              trial.kernel === kernel &&
              trial.load === load &&
              trial.way === way &&
              changeOf(trial.index) === change,
          );
          const [first] = of;
          if (first)
            cells.push({ kernel, release: first.release, load, change: change.name, way, trials: of });
        }
  return cells;
}

/** The table, for people. A cell of several panics tells how many of each. */
export function matrixText({ head, trials }: MergedResults): string {
  const cells = matrixCells(trials);
  const ways = KEEPING_WAYS.map(({ name }) => name).filter((name) => cells.some(({ way }) => way === name));
  const rows = new Map<string, readonly string[]>();
  for (const { kernel, load, change } of cells) {
    const of = ways.map((way) =>
      cells.find(
        (cell) => cell.kernel === kernel && cell.load === load && cell.change === change && cell.way === way,
      ),
    );
    rows.set(`${kernel} ${load} ${change}`, [
      printable(kernel),
      load,
      change,
      ...of.map((cell) => (cell ? matrixCellText(cell.trials) : "-")),
    ]);
  }
  const releases = [...new Set(cells.map(({ release }) => printable(release)))].join(", ");
  const title = `${releases} under QEMU ${printable(head.qemu)} (${printable(head.accelerator)}), kexec-tools ${printable(head.kexecTools)}`;
  const changes = MATRIX_CHANGES.filter(({ name }) => cells.some(({ change }) => change === name));
  const notes = [
    ...changes.map(({ name, title: words }) => `${name}: ${words}`),
    ...KEEPING_WAYS.filter(({ name }) => ways.includes(name)).map(
      ({ name, title: words }) => `${name}: ${words}`,
    ),
    ...(cells.some((cell) => claims(cell.trials)) ? ["*: the dump claims memory that was gone as well"] : []),
  ];
  const table = columns([["kernel", "loaded by", "change", ...ways], ...rows.values()], "  ");
  return `${title}\n\n${table}\n${notes.map((note) => `  ${note}\n`).join("")}`;
}

const WORDS = { complete: "complete", incomplete: "INCOMPLETE", "no-dump": "NO DUMP" } as const;

/** What a cell's panics gave, in words; a star where a dump claims memory that was gone. */
export function matrixCellText(trials: readonly TrialRecord[]): string {
  const mark = claims(trials) ? "*" : "";
  const outcomes = [...new Set(trials.map(({ outcome }) => outcome))];
  if (outcomes.length === 1) return `${WORDS[outcomes[0]!]}${mark}`;
  const of = (["complete", "incomplete", "no-dump"] as const).flatMap((outcome) => {
    const times = trials.filter((trial) => trial.outcome === outcome).length;
    return times > 0 ? [`${times} ${WORDS[outcome]}`] : [];
  });
  return `${of.join(", ")}${mark}`;
}

function claims(trials: readonly TrialRecord[]): boolean {
  return trials.some(({ claimed }) => claimed.length > 0);
}

/** `--json`. */
export function matrixJson({ head, trials }: MergedResults): Readonly<Record<string, unknown>> {
  return {
    schemaVersion: SCHEMA_VERSION,
    qemu: head.qemu,
    kexecTools: head.kexecTools,
    accelerator: head.accelerator,
    cells: matrixCells(trials).map(({ trials: of, ...cell }) => ({
      ...cell,
      ...outcomesJson(of),
      claimed: of.filter(({ claimed }) => claimed.length > 0).length,
      trials: of,
    })),
  };
}
