/** `lab matrix`: every kernel, system call, change and way of keeping kdump, one panic each. */
import { Command } from "commander";
import { type ChangeName, changeOf, MATRIX_CHANGES, matrixTasks } from "../../lab/campaign/matrix.ts";
import { type Task, trialId } from "../../lab/campaign/runner.ts";
import { KERNEL_SERIES } from "../../lab/fetch/kernel.ts";
import type { Context } from "../context.ts";
import { oneOf, parseCount } from "../options.ts";
import { type PanicsOptions, runPanics } from "../panics.ts";
import { addPanicOptions, LOADS, type VariantDefaults, variantsOf } from "../variants.ts";

interface MatrixCommandOptions extends PanicsOptions {
  readonly change?: readonly ChangeName[];
  readonly repeat: number;
  readonly seed: number;
}

const DEFAULTS: VariantDefaults = {
  kernels: KERNEL_SERIES,
  loads: LOADS,
  ways: ["nothing", "reload", "kernel", "in-place"],
};
const CHANGES = MATRIX_CHANGES.map(({ name }) => name);

export function matrixCommand(context: Context, exit: (code: number) => void): Command {
  const command = new Command("matrix").description(
    "panic real guests once for each kernel, system call, change and way of keeping kdump, and show what each gave",
  );
  return addPanicOptions(command, DEFAULTS)
    .option(
      "--change <name>",
      `a change (${CHANGES.join(", ")}); may be repeated (default: all)`,
      oneOf(CHANGES),
    )
    .option("--repeat <n>", "panics of each cell", parseCount, 1)
    .option("--seed <n>", "of the moments that are random", parseCount, 1)
    .action(async (options: MatrixCommandOptions) => {
      exit(await runMatrix(context, options));
    });
}

async function runMatrix(context: Context, options: MatrixCommandOptions): Promise<number> {
  const { seed } = options;
  const variants = variantsOf(options, DEFAULTS).filter(
    // A kernel that writes its own header does so whatever else is done: it stands for "nothing".
    ({ kernel, load, way }) => !(kernel === "6.12" && load === "kexec_file_load" && way === "nothing"),
  );
  const changes = options.change ?? CHANGES;
  return await runPanics(context, options, {
    head: { kind: "matrix", seed, freshEvery: 0, pagesEvery: 1 },
    variants,
    tasks: (done, accelerator) =>
      matrixTasks({ ...options, variants, changes }).filter(
        (task) => !done.has(trialId(task, task.plan.index)) && canBeTried(task, accelerator),
      ),
    repeat: (task) => repeatCommand(task, options),
  });
}

/** Linux 6.12 takes no CPU under TCG, whose name as a hypervisor it does not know: no CPU counts as one that may come. */
function canBeTried({ kernel, plan }: Task, accelerator: "kvm" | "tcg"): boolean {
  return !(kernel === "6.12" && accelerator === "tcg" && changeOf(plan.index).name === "one-cpu");
}

function repeatCommand({ kernel, load, way, plan }: Task, { seed }: MatrixCommandOptions): string {
  return `kdump-hotplug lab matrix --kernel ${kernel} --load ${load} --way ${way} --change ${changeOf(plan.index).name} --seed ${seed}`;
}
