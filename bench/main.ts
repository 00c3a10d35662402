/**
 * `npm run bench`: prints a table, or with `--json` one document. A benchmark, not a test: a figure that is missed does
 * not make it fail.
 * `--pure`: without guests; `--service`: nothing but a service with 1,000 idle and 100 busy pretended guests;
 * `--soak`: a service with 100 guests that change for 15 minutes; `--real-guests`: the program with 4 real ones;
 * `--inside`: with ways to keep a machine from inside; `--storm`: with a storm of uevents at the agent; `--huge`: with
 * 480 GiB plugged, which takes 9 GiB of memory; `--only NAME,…`: those parts of {@link SECTION_NAMES}.
 */
import { arch, cpus } from "node:os";
import { columns } from "../src/report/text.ts";
import { isSection, measureApart, measureHere, SECTION_NAMES, type SectionName } from "./sections.ts";
import { type Measurement, verdict } from "./stats.ts";

const say = (line: string): void => void process.stderr.write(`${line}\n`);
const has = (option: string): boolean => process.argv.includes(option);

function sectionOf(name: string): SectionName {
  if (isSection(name)) return name;
  throw new Error(`There is no part "${name}" to measure, only ${SECTION_NAMES.join(", ")}`);
}

function chosen(): readonly SectionName[] {
  const only = process.argv.indexOf("--only");
  if (only !== -1) return (process.argv[only + 1] ?? "").split(",").map(sectionOf);
  for (const alone of ["service", "soak", "real-guests"] as const) if (has(`--${alone}`)) return [alone];
  return [
    "simulation",
    "pure",
    ...(has("--pure") ? [] : (["shared-file", "qemu-memory", "gdbstub", "removals"] as const)),
    ...(has("--inside") ? (["inside-5.10", "inside-6.1"] as const) : []),
    ...(has("--storm") ? (["storm"] as const) : []),
    ...(has("--huge") ? (["huge-1", "huge-240"] as const) : []),
  ];
}

function ms(value: number): string {
  return value < 0.1 ? value.toFixed(4) : value.toFixed(2);
}

function print(rows: readonly Measurement[], lines: readonly string[]): void {
  if (has("--json")) {
    const machine = { cpu: cpus()[0]?.model, cores: cpus().length, arch: arch(), node: process.version };
    const measurements = rows.map((row) => ({ ...row, met: row.limit ? verdict(row) === "yes" : null }));
    process.stdout.write(`${JSON.stringify({ schemaVersion: 1, machine, measurements, lines }, null, 2)}\n`);
    return;
  }
  const table = rows.map((row) => [
    row.name,
    String(row.samples),
    ms(row.median),
    ms(row.p99),
    ms(row.max),
    row.peakMiB.toFixed(0),
    row.limit ? `${row.limit.of} <= ${row.limit.ms}` : "",
    verdict(row),
  ]);
  process.stdout.write(
    columns([["milliseconds", "n", "median", "p99", "max", "peak MiB", "asked", "met"], ...table]),
  );
  for (const line of lines) process.stdout.write(`${line}\n`);
}

const controller = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) {
  process.on(name, () => controller.abort(new Error(`Interrupted by ${name}`)));
}
const here = process.argv.indexOf("--section");
if (here !== -1) {
  await measureHere(sectionOf(process.argv[here + 1] ?? ""), say, controller.signal);
} else {
  const rows: Measurement[] = [];
  const lines: string[] = [];
  for (const name of chosen()) {
    const findings = await measureApart(name, controller.signal);
    rows.push(...findings.measurements);
    lines.push(...findings.lines);
  }
  print(rows, lines);
}
