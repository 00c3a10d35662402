/** What the lab's runs of many panics have in common: kernels, system calls, ways, and where their parts come from. */
import type { Command } from "commander";
import type { Variant } from "../lab/campaign/runner.ts";
import { KEEPING_WAYS, type KeepingName } from "../lab/campaign/ways.ts";
import type { LoadCall } from "../lab/guest-actions.ts";
import { UsageError } from "./exit.ts";
import {
  accelOption,
  busyboxOption,
  jsonOption,
  kexecOption,
  oneOf,
  parseCount,
  qemuOption,
  type SuppliesOptions,
} from "./options.ts";
import { reportOption, type ReportOptions } from "./report-file.ts";

export interface VariantOptions extends SuppliesOptions, ReportOptions {
  readonly kernel?: readonly string[];
  readonly load?: readonly LoadCall[];
  readonly way?: readonly KeepingName[];
}

/** Both system calls. */
export const LOADS: readonly LoadCall[] = ["kexec_file_load", "kexec_load"];
const WAYS = KEEPING_WAYS.map(({ name }) => name);

/** What stands for options that are not given. */
export interface VariantDefaults {
  readonly kernels: readonly string[];
  readonly loads: readonly LoadCall[];
  readonly ways: readonly KeepingName[];
}

function words(names: string, defaults: readonly string[]): string {
  return `(${names}); may be repeated (default: ${defaults.join(", ")})`;
}

/** Adds the options that runs of many panics share. */
export function addPanicOptions(command: Command, { kernels, loads, ways }: VariantDefaults): Command {
  return command
    .option("--kernel <version-or-file>", words("5.10, 6.1, 6.12, or a kernel image", kernels), collect)
    .option(
      "--load <call>",
      `the system call that loads the capture kernel ${words(LOADS.join(", "), loads)}`,
      oneOf(LOADS),
    )
    .option("--way <name>", `a way of keeping kdump ${words(WAYS.join(", "), ways)}`, oneOf(WAYS))
    .addOption(accelOption())
    .addOption(qemuOption())
    .addOption(busyboxOption())
    .addOption(kexecOption())
    .option("--jobs <n>", "panics at a time: each takes two processors", parseCount, 2)
    .option(
      "--minutes <n>",
      "begin no trial after so many minutes; a later run with the same --out goes on",
      parseCount,
    )
    .option(
      "--out <file>",
      "results as JSON Lines; trials that are in it already are not run again, and what failed is kept in FILE.failed/",
    )
    .option("--keep-all", "keep the evidence of every trial, not only of those that failed")
    .addOption(reportOption())
    .addOption(jsonOption());
}

/** Every kernel with every system call and way, but for a kernel's own handler where the lab's kernels have none. */
export function variantsOf(options: VariantOptions, defaults: VariantDefaults): readonly Variant[] {
  const kernels = options.kernel ?? defaults.kernels;
  const loads = options.load ?? defaults.loads;
  const ways = options.way ?? defaults.ways;
  const variants: Variant[] = [];
  for (const kernel of new Set(kernels)) {
    for (const load of new Set(loads)) {
      for (const way of new Set(ways)) {
        const none = way === "kernel" && (kernel === "5.10" || kernel === "6.1" || load === "kexec_load");
        if (!none) variants.push({ kernel, load, way });
      }
    }
  }
  if (variants.length === 0)
    throw new UsageError("No trial to run: way kernel needs Linux 6.6 or newer and kexec_file_load");
  return variants;
}

/** Reads one more of an option that may be repeated. */
function collect(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}
