/**
 * Ways to bring a loaded capture kernel up to date from inside a guest, side by side in one run: duration, and how long a
 * sampler found nothing loaded. Then many re-arms in a row, a panic, and whether the dump is complete.
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import * as v from "valibot";
import { readVmcore } from "../src/lab/evidence.ts";
import type { KernelSeries } from "../src/lab/fetch/kernel.ts";
import { supply } from "../src/lab/fetch/supplies.ts";
import { AcceleratorChoice } from "../src/lab/guest.ts";
import { loadCaptureKernel, onlineMemory, panic, writeGuestFiles } from "../src/lab/guest-actions.ts";
import { runProgram, text } from "../src/lab/guest-process.ts";
import { GUEST_CAPTURE_INITRAMFS, GUEST_VMLINUZ } from "../src/lab/initramfs.ts";
import { GUEST_NODE } from "../src/lab/node.ts";
import { buildParts } from "../src/lab/parts.ts";
import { bootPatiently } from "../src/lab/scenario.ts";
import { type Findings, measured } from "./stats.ts";

const SCRIPT = "/tmp/inside-guest.mjs";
const REARMS = 1000;
const REPETITIONS = 30;
const LIMIT_MS = 3_600_000;
/** Asked: a re-arm's system call takes at most so much of what `kexec -p -s` takes. */
const SHARE = 100;

const Result = v.object({
  results: v.record(
    v.string(),
    v.array(
      v.object({
        ms: v.number(),
        callMs: v.nullable(v.number()),
        blindMs: v.number(),
        blindTimes: v.number(),
      }),
    ),
  ),
  row: v.array(v.number()),
  rowBlindMs: v.number(),
  outcome: v.string(),
  verdict: v.string(),
  rssMiB: v.number(),
});

/** @param repetitions of each way. @param rearms in a row. */
export async function benchInside(
  kernel: KernelSeries,
  log: (line: string) => void,
  signal: AbortSignal,
  {
    repetitions = REPETITIONS,
    rearms = REARMS,
  }: { readonly repetitions?: number; readonly rearms?: number } = {},
): Promise<Findings> {
  const supplies = await supply({ kernel, node: true, log, signal });
  await using parts = await buildParts(supplies, new AcceleratorChoice());
  const wanted = { ramMiB: 1536, crashkernelMiB: 256, ram: "shared", signal } as const;
  await using guest = (await bootPatiently(parts, wanted, { log })).guest;
  const { agent } = guest;
  await loadCaptureKernel(agent, { load: "kexec_file_load", acpiNoMemhotplug: true });
  const commandLine = "console=ttyS0 nr_cpus=1 reset_devices irqpoll panic=5 acpi_no_memhotplug";
  const script = await readFile(
    fileURLToPath(new URL("../../bench/inside-guest.mjs", import.meta.url)),
    "utf8",
  );
  const job = { repetitions, rearms, kernel: GUEST_VMLINUZ, initrd: GUEST_CAPTURE_INITRAMFS, commandLine };
  await writeGuestFiles(agent, [
    { path: SCRIPT, mode: 0o644, text: script },
    { path: "/tmp/bench.json", mode: 0o644, text: JSON.stringify(job) },
  ]);
  const { status, stdout, stderr } = await runProgram(agent, [GUEST_NODE, SCRIPT], LIMIT_MS);
  if (status !== 0) throw new Error(`Cannot measure inside of ${kernel}: ${text(stderr)}`);
  const { results, row, rowBlindMs, outcome, verdict, rssMiB } = v.parse(Result, JSON.parse(text(stdout)));
  const online = await onlineMemory(agent);
  const arrived = await panic(guest);
  const missing = arrived ? online.subtract((await readVmcore(agent))!.described) : online;
  const what = (name: string): string => `inside ${kernel}: ${name}`;
  const measurements = Object.entries(results).flatMap(([name, runs]) => [
    measured(
      what(name),
      runs.map(({ ms }) => ms),
    ),
    measured(
      what(`${name}, nothing loaded (sampler)`),
      runs.map(({ blindMs }) => blindMs),
    ),
  ]);
  const median = (
    name: string,
    of: (run: v.InferOutput<typeof Result>["results"][string][number]) => number,
  ): number => measured("", results[name]!.map(of)).median;
  const call = measured(what("re-arm, system call, in a row"), row);
  const kexec = median("kexec -p -s", ({ blindMs }) => blindMs);
  const ratio = kexec / call.median;
  return {
    measurements: [...measurements, call],
    lines: [
      `inside ${kernel}: kexec -p -s leaves nothing loaded for ${kexec.toFixed(0)} ms, a re-arm's system call takes ${call.median.toFixed(2)} ms: 1/${ratio.toFixed(0)} (asked 1/${SHARE}: ${ratio >= SHARE ? "yes" : "NO"})`,
      `inside ${kernel}: ${rearms} re-arms in a row, nothing loaded for ${rowBlindMs.toFixed(0)} ms of them (sampler); then ${outcome}, ${verdict}; panic: ${arrived ? (missing.isEmpty ? "complete" : `incomplete, ${missing.toString()}`) : "no dump"}; ${rssMiB.toFixed(0)} MiB resident`,
    ],
  };
}
