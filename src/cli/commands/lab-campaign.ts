/** `lab campaign` and `lab merge`: many panics, and what they gave. */
import { Command, InvalidArgumentError, Option } from "commander";
import { type Shard, shardTrials } from "../../lab/campaign/plan.ts";
import { type CampaignResults, mergeResults, readResults, ResultsError } from "../../lab/campaign/results.ts";
import { type Task, tasksOf } from "../../lab/campaign/runner.ts";
import type { Context } from "../context.ts";
import { jsonOption, parseCount } from "../options.ts";
import { type PanicsOptions, runPanics, tellResults } from "../panics.ts";
import { openReport, reportOption, type ReportOptions } from "../report-file.ts";
import { addPanicOptions, type VariantDefaults, variantsOf } from "../variants.ts";

interface CampaignOptions extends PanicsOptions {
  readonly trials: number;
  readonly trial?: number;
  readonly seed: number;
  readonly shard: Shard;
  readonly perLayout: number;
  readonly freshEvery: number;
  readonly pagesEvery: number;
  readonly cpus?: true;
}

/** By default those ways with which we promise a complete dump. */
const DEFAULTS: VariantDefaults = {
  kernels: ["6.1"],
  loads: ["kexec_file_load"],
  ways: ["in-place", "plug"],
};

export function campaignCommand(context: Context, exit: (code: number) => void): Command {
  const command = new Command("campaign").description(
    "panic real guests at seeded random moments while memory comes and goes, and count complete, incomplete and missing dumps",
  );
  return addPanicOptions(command, DEFAULTS)
    .option("--trials <n>", "panics of each kernel, system call and way", parseCount, 20)
    .option("--trial <number>", "only this one of them, from 0 on", parseIndex)
    .option("--seed <n>", "of all plans", parseCount, 1)
    .addOption(
      new Option("--shard <i/n>", "only the i-th of n parts, i from 1 to n")
        .argParser(parseShard)
        .default({ number: 1, count: 1 }, "1/1"),
    )
    .option(
      "--per-layout <n>",
      "trials that start from one saved guest: each has a KASLR layout of its own",
      parseCount,
      25,
    )
    .option("--fresh-every <n>", "one trial in so many boots a guest of its own; 0: none", parseIndex, 20)
    .option("--pages-every <n>", "one trial in so many compares pages, beside headers", parseCount, 4)
    .option("--cpus", "add a CPU in one trial of five, and remove it again in some; all else stays the same")
    .action(async (options: CampaignOptions) => {
      exit(await runCampaign(context, options));
    });
}

export function mergeCommand(context: Context, exit: (code: number) => void): Command {
  return new Command("merge")
    .description("put results of lab campaign, or of lab matrix, together and print their table")
    .argument("<file...>", "results of one campaign or matrix, from --out")
    .addOption(reportOption())
    .addOption(jsonOption())
    .action(async (paths: readonly string[], options: ReportOptions & { readonly json?: true }) => {
      const report = await openReport(context, options);
      const files: { readonly name: string; readonly results: CampaignResults }[] = [];
      for (const name of paths) {
        const results = await readResults(name);
        if (!results) throw new ResultsError(`${name} is missing or empty; expected results of lab campaign`);
        files.push({ name, results });
      }
      exit(await tellResults(context, mergeResults(files), options.json, report));
    });
}

async function runCampaign(context: Context, options: CampaignOptions): Promise<number> {
  const { seed, freshEvery, pagesEvery, trial, cpus } = options;
  const variants = variantsOf(options, DEFAULTS);
  const indexes = trial === undefined ? shardTrials(options.trials, options.shard) : [trial];
  return await runPanics(context, options, {
    head: { kind: "campaign", seed, freshEvery, pagesEvery, ...(cpus && { cpus }) },
    variants,
    tasks: (done) => tasksOf({ ...options, variants, indexes, done }),
    repeat: (task) => repeatCommand(task, options),
  });
}

/** What a user types to run one trial again. Its plan is the same; where the kernel lies and how fast it is are not. */
function repeatCommand({ kernel, load, way, plan }: Task, options: CampaignOptions): string {
  return `kdump-hotplug lab campaign --kernel ${kernel} --load ${load} --way ${way} --seed ${options.seed} --fresh-every ${options.freshEvery} --pages-every ${options.pagesEvery} --trial ${plan.index} --jobs 1${options.cpus ? " --cpus" : ""}`;
}

/** A whole number from 0 on. */
function parseIndex(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError("expected a whole number from 0 on");
  return Number(text);
}

function parseShard(text: string): Shard {
  const match = /^(\d{1,6})\/(\d{1,6})$/.exec(text);
  const [number, count] = [Number(match?.[1]), Number(match?.[2])];
  if (!match || number < 1 || number > count)
    throw new InvalidArgumentError("expected i/n with i from 1 to n, such as 2/4");
  return { number, count };
}
