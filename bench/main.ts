/**
 * `npm run bench`: prints a table, or with `--json` one document. A benchmark, not a test: a figure that is missed does
 * not make it fail.
 * `--pure`: without guests; `--service`: nothing but a service with 1,000 idle and 100 busy pretended guests;
 * `--soak`: a service with 100 guests that change for 15 minutes; `--real-guests`: the program with 4 real ones;
 * `--inside`: with ways to keep a machine from inside; `--storm`: with a storm of uevents at the agent; `--huge`: with
 * 480 GiB plugged, which takes 9 GiB of memory; `--only NAME,…`: those parts of {@link SECTION_NAMES}.
 */
import { arch, cpus } from "node:os";
import { parseArgs } from "node:util";
import { columns } from "../src/report/text.ts";
import {
  ENDED_AT_ONCE,
  isSection,
  measureApart,
  measureHere,
  SECTION_NAMES,
  type SectionName,
} from "./sections.ts";
import { type Measurement, verdict } from "./stats.ts";

const say = (line: string): void => void process.stderr.write(`${line}\n`);
/** Parts that are measured by themselves. */
const ALONE = [
  ["service", ["service-idle", "service-busy"]],
  ["soak", ["soak"]],
  ["real-guests", ["real-guests"]],
] as const;

const flag = { type: "boolean", default: false } as const;
/** What was asked for. */
type Options = ReturnType<typeof optionsOf>;

function optionsOf() {
  return parseArgs({
    options: {
      json: flag,
      pure: flag,
      service: flag,
      soak: flag,
      "real-guests": flag,
      inside: flag,
      storm: flag,
      huge: flag,
      only: { type: "string" },
      section: { type: "string" },
    },
  }).values;
}

function sectionOf(name: string): SectionName {
  if (isSection(name)) return name;
  throw new Error(`There is no part "${name}" to measure, only ${SECTION_NAMES.join(", ")}`);
}

function chosen(options: Options): readonly SectionName[] {
  if (options.only !== undefined) return options.only.split(",").map(sectionOf);
  for (const [alone, parts] of ALONE) if (options[alone]) return parts;
  return [
    "simulation",
    "pure",
    ...(options.pure ? [] : (["shared-file", "qemu-memory", "gdbstub", "removals"] as const)),
    ...(options.inside ? (["inside-5.10", "inside-6.1"] as const) : []),
    ...(options.storm ? (["storm"] as const) : []),
    ...(options.huge ? (["huge-1", "huge-240"] as const) : []),
  ];
}

function ms(value: number): string {
  return value < 0.1 ? value.toFixed(4) : value.toFixed(2);
}

function print(rows: readonly Measurement[], lines: readonly string[], json: boolean): void {
  if (json) {
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

async function measure(options: Options, signal: AbortSignal): Promise<void> {
  const rows: Measurement[] = [];
  const lines: string[] = [];
  for (const name of chosen(options)) {
    const findings = await measureApart(name, signal);
    rows.push(...findings.measurements);
    lines.push(...findings.lines);
  }
  print(rows, lines, options.json);
}

const controller = new AbortController();
const { signal } = controller;

function abortOnSignals(): void {
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.on(name, () => controller.abort(new Error(`Interrupted by ${name}`)));
  }
}

try {
  const options = optionsOf();
  const { section = "" } = options;
  if (!ENDED_AT_ONCE.has(section)) abortOnSignals();
  if (section === "") await measure(options, signal);
  else await measureHere(sectionOf(section), say, signal);
} catch (error) {
  // Where a part fails its process says where, and this one only that it did.
  if (!(error instanceof Error) || (process.send && !signal.aborted)) throw error;
  if (!process.send) say((signal.aborted ? signal.reason : error).message);
  process.exitCode = signal.aborted ? 130 : 1;
}
