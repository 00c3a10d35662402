/** `lab campaign` and `lab merge`: many panics, and what they gave. */
import { Command, InvalidArgumentError, Option } from "commander";
import { keepEvidence } from "../../lab/campaign/keep.ts";
import { type Shard, shardTrials } from "../../lab/campaign/plan.ts";
import { ResultsFile } from "../../lab/campaign/results-file.ts";
import {
  type CampaignHead,
  type CampaignResults,
  mergeResults,
  readResults,
  ResultsError,
  type TrialRecord,
} from "../../lab/campaign/results.ts";
import { runTasks, tasksOf, type Variant } from "../../lab/campaign/runner.ts";
import { keepingWay } from "../../lab/campaign/ways.ts";
import { campaignJson, campaignRows, campaignText, ourFailures } from "../../report/campaign.ts";
import { recordOf } from "../../report/trial-record.ts";
import { type Context, printJson } from "../context.ts";
import { EXIT } from "../exit.ts";
import { LabKernels } from "../lab-kernels.ts";
import { jsonOption, parseCount } from "../options.ts";
import { Progress } from "../progress.ts";
import { addVariantOptions, type VariantDefaults, type VariantOptions, variantsOf } from "../variants.ts";

interface CampaignOptions extends VariantOptions {
  readonly trials: number;
  readonly trial?: number;
  readonly seed: number;
  readonly shard: Shard;
  readonly jobs: number;
  readonly perLayout: number;
  readonly freshEvery: number;
  readonly pagesEvery: number;
  readonly minutes?: number;
  readonly out?: string;
  readonly keepAll?: true;
  readonly json?: true;
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
  return addVariantOptions(command, DEFAULTS)
    .option("--trials <n>", "panics of each kernel, system call and way", parseCount, 20)
    .option("--trial <number>", "only this one of them, from 0 on", parseIndex)
    .option("--seed <n>", "of all plans", parseCount, 1)
    .addOption(
      new Option("--shard <i/n>", "only the i-th of n parts, i from 1 to n")
        .argParser(parseShard)
        .default({ number: 1, count: 1 }, "1/1"),
    )
    .option("--jobs <n>", "trials at a time: each takes two processors", parseCount, 2)
    .option(
      "--per-layout <n>",
      "trials that start from one saved guest: each has a KASLR layout of its own",
      parseCount,
      25,
    )
    .option("--fresh-every <n>", "one trial in so many boots a guest of its own; 0: none", parseIndex, 20)
    .option("--pages-every <n>", "one trial in so many compares pages, beside headers", parseCount, 4)
    .option(
      "--minutes <n>",
      "begin no trial after so many minutes; a later run with the same --out goes on",
      parseCount,
    )
    .option(
      "--out <file>",
      "results as JSON Lines; trials that are in it already are not run again, and what failed is kept in FILE.failed/",
    )
    .addOption(new Option("--keep-all", "keep the evidence of every trial, not only of those that failed"))
    .addOption(jsonOption())
    .action(async (options: CampaignOptions) => {
      exit(await runCampaign(context, options));
    });
}

export function mergeCommand(context: Context, exit: (code: number) => void): Command {
  return new Command("merge")
    .description("put results of lab campaign together and print their table")
    .argument("<file...>", "results of one campaign, from --out")
    .addOption(jsonOption())
    .action(async (paths: readonly string[], options: { readonly json?: true }) => {
      const files: { readonly name: string; readonly results: CampaignResults }[] = [];
      for (const name of paths) {
        const results = await readResults(name);
        if (!results) throw new ResultsError(`${name} is missing or empty; expected results of lab campaign`);
        files.push({ name, results });
      }
      exit(tell(context, mergeResults(files), options.json));
    });
}

/** Prints the table. @returns 1 where a dump that we promise was not complete. */
function tell(context: Context, merged: ReturnType<typeof mergeResults>, json: true | undefined): number {
  if (json) printJson(context, campaignJson(merged));
  else context.print(campaignText(merged));
  return ourFailures(campaignRows(merged.trials)).length > 0 ? EXIT.no : EXIT.yes;
}

async function runCampaign(context: Context, options: CampaignOptions): Promise<number> {
  const { say: log, signal } = context;
  const deadline = performance.now() + (options.minutes ?? Infinity) * 60_000;
  const variants = variantsOf(options, DEFAULTS);
  const udev = variants.some(({ way }) => keepingWay(way).rules !== undefined);
  await using kernels = new LabKernels(context, { ...options, udev });
  const { qemu, kexec } = await kernels.supplies(variants[0]!.kernel);
  const head: CampaignHead = {
    kind: "campaign",
    version: 1,
    seed: options.seed,
    freshEvery: options.freshEvery,
    pagesEvery: options.pagesEvery,
    qemu: qemu.version,
    kexecTools: kexec.version,
    accelerator: kernels.accelerator.current,
  };
  const file = options.out === undefined ? undefined : await ResultsFile.open(options.out, head);
  const trials: TrialRecord[] = [...(file?.before ?? [])];
  const all = shardTrials(options.trials, options.shard);
  const indexes = options.trial === undefined ? all : [options.trial];
  const done = new Set(trials.map(({ id }) => id));
  const tasks = tasksOf({ ...options, variants, indexes, done });
  if (done.size > 0) log(`${options.out} has ${done.size} trials already; ${tasks.length} are left`);
  const progress = new Progress(context, tasks.length);
  const ran = await runTasks(tasks, {
    partsOf: async (kernel) => await kernels.parts(kernel),
    jobs: options.jobs,
    deadline,
    log,
    signal,
    onTrial: async (trial, ready) => {
      const record = recordOf(trial, repeatCommand(trial.task, options));
      trials.push(record);
      await file?.append(record);
      if (options.out !== undefined && (record.outcome !== "complete" || options.keepAll))
        await keepEvidence(`${options.out}.failed`, record, trial, ready);
      progress.tell(record);
    },
  });
  progress.end();
  if (ran < tasks.length) log(`The time was up: ${tasks.length - ran} trials are left`);
  return tell(context, { head, trials, twice: [] }, options.json);
}

/** What a user types to run one trial again. Its plan is the same; where the kernel lies and how fast it is are not. */
function repeatCommand(
  { kernel, load, way, plan }: Variant & { readonly plan: { readonly index: number } },
  options: CampaignOptions,
): string {
  return `kdump-hotplug lab campaign --kernel ${kernel} --load ${load} --way ${way} --seed ${options.seed} --fresh-every ${options.freshEvery} --pages-every ${options.pagesEvery} --trial ${plan.index} --jobs 1`;
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
