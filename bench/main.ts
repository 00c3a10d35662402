/**
 * `npm run bench`: prints a table, or with `--json` one document. A benchmark, not a test: it always ends with 0.
 * `--service`: nothing but a service with 1,000 idle and 100 busy pretended guests; `--pure`: without guests; `--inside`: with ways
 * to keep a machine from inside; `--storm`: with a storm of uevents at the agent; `--huge`: with 480 GiB plugged, which
 * takes 9 GiB of memory.
 */
import { arch, cpus } from "node:os";
import { columns } from "../src/report/text.ts";
import { benchGuest } from "./guest.ts";
import { benchHugeDimms } from "./huge-dimms.ts";
import { benchInside } from "./inside.ts";
import { benchHeaders, benchRangeSets } from "./pure.ts";
import { benchRemovals } from "./removals.ts";
import { benchService } from "./service.ts";
import { benchRules, benchSimulation } from "./simulation.ts";
import { type Measurement, verdict } from "./stats.ts";
import { benchStorm } from "./storm.ts";

const ms = (value: number): string => (value < 0.1 ? value.toFixed(4) : value.toFixed(2));
const json = process.argv.includes("--json");
const pureOnly = process.argv.includes("--pure");
const say = (line: string): void => void process.stderr.write(`${line}\n`);
const lines: string[] = [];
const controller = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) {
  process.on(name, () => controller.abort(new Error(`Interrupted by ${name}`)));
}

const rows: Measurement[] = [];
const serviceOnly = process.argv.includes("--service");
if (serviceOnly) {
  const service = await benchService(say, controller.signal);
  rows.push(...service.measurements);
  lines.push(...service.lines);
} else {
  rows.push(
    ...(await benchRules()),
    ...(await benchSimulation(controller.signal)),
    ...(await benchHeaders()),
    ...(await benchRangeSets()),
  );
}
if (!pureOnly && !serviceOnly) {
  for (const reach of ["shared file", "QEMU's memory", "gdbstub"] as const)
    rows.push(...(await benchGuest(reach, say, controller.signal)));
  rows.push(...(await benchRemovals(say, controller.signal)));
}
if (process.argv.includes("--inside")) {
  for (const kernel of ["5.10", "6.1"] as const) {
    const inside = await benchInside(kernel, say, controller.signal);
    rows.push(...inside.measurements);
    lines.push(...inside.lines);
  }
}
if (process.argv.includes("--storm")) {
  const storm = await benchStorm(say);
  rows.push(...storm.measurements);
  lines.push(...storm.lines);
}
if (process.argv.includes("--huge")) {
  // As in the RFC, and as near to its 480 DIMMs as QEMU, which has 256 slots, can come.
  for (const [count, gib] of [
    [1, 480n],
    [240, 2n],
  ] as const) {
    const huge = await benchHugeDimms(count, gib << 30n, say, controller.signal);
    rows.push(...huge.measurements);
    lines.push(...huge.lines);
  }
}

if (json) {
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, arch: arch(), node: process.version };
  const measurements = rows.map((row) => ({ ...row, met: row.limit ? verdict(row) === "yes" : null }));
  process.stdout.write(`${JSON.stringify({ schemaVersion: 1, machine, measurements, lines }, null, 2)}\n`);
} else {
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
