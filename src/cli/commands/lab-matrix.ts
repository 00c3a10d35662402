/** `lab matrix`: every kernel, system call, change and way of keeping kdump, one panic each. */
import { Command } from "commander";
import { type ChangeName, changeOf, MATRIX_CHANGES, matrixTasks } from "../../lab/campaign/matrix.ts";
import type { TrialRecord } from "../../lab/campaign/results.ts";
import { runTasks, type Task } from "../../lab/campaign/runner.ts";
import { keepingWay } from "../../lab/campaign/ways.ts";
import { KERNEL_SERIES } from "../../lab/fetch/kernel.ts";
import { matrixJson, matrixText } from "../../report/matrix.ts";
import { recordOf } from "../../report/trial-record.ts";
import { type Context, printJson } from "../context.ts";
import { EXIT } from "../exit.ts";
import { LabKernels } from "../lab-kernels.ts";
import { jsonOption, parseCount } from "../options.ts";
import { Progress } from "../progress.ts";
import {
  addVariantOptions,
  LOADS,
  oneOf,
  type VariantDefaults,
  type VariantOptions,
  variantsOf,
} from "../variants.ts";

interface MatrixCommandOptions extends VariantOptions {
  readonly change?: readonly ChangeName[];
  readonly repeat: number;
  readonly seed: number;
  readonly jobs: number;
  readonly json?: true;
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
  return addVariantOptions(command, DEFAULTS)
    .option(
      "--change <name>",
      `a change (${CHANGES.join(", ")}); may be repeated (default: all)`,
      oneOf(CHANGES),
    )
    .option("--repeat <n>", "panics of each cell", parseCount, 1)
    .option("--seed <n>", "of the moments that are random", parseCount, 1)
    .option("--jobs <n>", "panics at a time: each takes two processors", parseCount, 2)
    .addOption(jsonOption())
    .action(async (options: MatrixCommandOptions) => {
      exit(await runMatrix(context, options));
    });
}

async function runMatrix(context: Context, options: MatrixCommandOptions): Promise<number> {
  const { say: log, signal } = context;
  const variants = variantsOf(options, DEFAULTS).filter(
    // A kernel that writes its own header does so whatever else is done: it stands for "nothing".
    ({ kernel, load, way }) => !(kernel === "6.12" && load === "kexec_file_load" && way === "nothing"),
  );
  const udev = variants.some(({ way }) => keepingWay(way).rules !== undefined);
  await using kernels = new LabKernels(context, { ...options, udev });
  const { qemu, kexec } = await kernels.supplies(variants[0]!.kernel);
  const tasks = matrixTasks({ ...options, variants, changes: options.change ?? CHANGES });
  const progress = new Progress(context, tasks.length);
  const trials: TrialRecord[] = [];
  await runTasks(tasks, {
    partsOf: async (kernel) => await kernels.parts(kernel),
    jobs: options.jobs,
    deadline: Infinity,
    log,
    signal,
    onTrial: async (trial) => {
      const record = recordOf(trial, repeatCommand(trial.task, options));
      trials.push(record);
      progress.tell(record);
      for (const error of record.errors) log(`${record.id}: ${error}`);
    },
  });
  progress.end();
  const setting = {
    qemu: qemu.version,
    kexecTools: kexec.version,
    accelerator: kernels.accelerator.current,
  };
  if (options.json) printJson(context, matrixJson(setting, trials));
  else context.print(matrixText(setting, trials));
  const promised = trials.filter(
    ({ way, moment }) => (way === "in-place" && moment === "after") || way === "plug",
  );
  return promised.some(({ outcome }) => outcome !== "complete") ? EXIT.no : EXIT.yes;
}

function repeatCommand({ kernel, load, way, plan }: Task, { seed }: MatrixCommandOptions): string {
  return `kdump-hotplug lab matrix --kernel ${kernel} --load ${load} --way ${way} --change ${changeOf(plan.index).name} --seed ${seed}`;
}
