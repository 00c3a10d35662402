/** What the lab's runs of many panics have in common: kernels, system calls, ways, and where their parts come from. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { Variant } from "../lab/campaign/runner.ts";
import { KEEPING_WAYS, type KeepingName } from "../lab/campaign/ways.ts";
import type { LoadCall } from "../lab/guest-actions.ts";
import { UsageError } from "./exit.ts";

export interface VariantOptions {
  readonly kernel?: readonly string[];
  readonly load?: readonly LoadCall[];
  readonly way?: readonly KeepingName[];
  readonly accel: "auto" | "kvm" | "tcg";
  readonly qemu?: string;
  readonly busybox?: string;
  readonly kexec?: string;
}

const LOADS: readonly LoadCall[] = ["kexec_file_load", "kexec_load"];
const WAYS = KEEPING_WAYS.map(({ name }) => name);

/** Adds the options of {@link VariantOptions}. */
export function addVariantOptions(command: Command, ways: readonly KeepingName[]): Command {
  return command
    .option(
      "--kernel <version-or-file>",
      "5.10, 6.1, 6.12, or a kernel image; may be repeated (default: 6.1)",
      collect,
    )
    .option(
      "--load <call>",
      `the system call that loads the capture kernel (${LOADS.join(", ")}); may be repeated (default: ${LOADS[0]})`,
      oneOf(LOADS),
    )
    .option(
      "--way <name>",
      `a way of keeping kdump (${WAYS.join(", ")}); may be repeated (default: ${ways.join(", ")})`,
      oneOf(WAYS),
    )
    .addOption(
      new Option("--accel <name>", "how QEMU runs the guest").choices(["auto", "kvm", "tcg"]).default("auto"),
    )
    .option("--qemu <file>", "qemu-system-x86_64")
    .option("--busybox <file>", "a static busybox")
    .option("--kexec <file>", "kexec of kexec-tools");
}

/** Every kernel with every system call and way, but for a kernel's own handler where the lab's kernels have none. */
export function variantsOf(options: VariantOptions, defaults: readonly KeepingName[]): readonly Variant[] {
  const kernels = options.kernel ?? ["6.1"];
  const loads = options.load ?? LOADS.slice(0, 1);
  const ways = options.way ?? defaults;
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

function collect(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}

function oneOf<T extends string>(names: readonly T[]): (text: string, before?: readonly T[]) => readonly T[] {
  return (text, before = []) => {
    const known = names.find((name) => name === text);
    if (known === undefined) throw new InvalidArgumentError(`expected one of ${names.join(", ")}`);
    return [...before, known];
  };
}
