/** What `lab campaign` and `lab matrix` have in common: run trials, keep results and evidence, tell what came of it. */
import { keepEvidence } from "../lab/campaign/keep.ts";
import { ResultsFile } from "../lab/campaign/results-file.ts";
import type { CampaignHead, MergedResults, TrialRecord } from "../lab/campaign/results.ts";
import { runTasks, type Task, type Variant } from "../lab/campaign/runner.ts";
import { keepingWay } from "../lab/campaign/ways.ts";
import { campaignJson, campaignText, ourFailures } from "../report/campaign.ts";
import { matrixJson, matrixText } from "../report/matrix.ts";
import { recordOf } from "../report/trial-record.ts";
import { type Context, printJson } from "./context.ts";
import { EXIT } from "./exit.ts";
import { LabKernels } from "./lab-kernels.ts";
import { PanicProgress } from "./progress.ts";
import { openReport, type ReportFile } from "./report-file.ts";
import type { VariantOptions } from "./variants.ts";

/** Options of both commands. */
export interface PanicsOptions extends VariantOptions {
  readonly jobs: number;
  readonly minutes?: number;
  readonly out?: string;
  readonly keepAll?: true;
  readonly json?: true;
}

/** What a command runs. */
export interface Panics {
  /** The first line of its results, but for the programs. */
  readonly head: Omit<CampaignHead, "version" | "qemu" | "kexecTools" | "accelerator">;
  readonly variants: readonly Variant[];
  /** What is left to run, given the ids of what is done, on QEMU's `accelerator`. */
  readonly tasks: (done: ReadonlySet<string>, accelerator: "kvm" | "tcg") => readonly Task[];
  /** The command that runs one trial again. */
  readonly repeat: (task: Task) => string;
}

/** Runs what is not done yet, and tells of everything. @returns the exit code. */
export async function runPanics(context: Context, options: PanicsOptions, panics: Panics): Promise<number> {
  const { say: log, signal } = context;
  const { out } = options;
  // Before anything else: an hour of panics is not to end with a page that cannot be written.
  const report = await openReport(context, options);
  const deadline = performance.now() + (options.minutes ?? Infinity) * 60_000;
  const udev = panics.variants.some(({ way }) => keepingWay(way).rules !== undefined);
  const node = panics.variants.some(({ way }) => keepingWay(way).isInside);
  await using kernels = new LabKernels(context, { ...options, udev, node });
  const { qemu, kexec } = await kernels.supplies(panics.variants[0]!.kernel);
  const head: CampaignHead = {
    ...panics.head,
    version: 1,
    qemu: qemu.version,
    kexecTools: kexec.version,
    accelerator: kernels.accelerator.current,
  };
  const file = out === undefined ? undefined : await ResultsFile.open(out, head);
  const trials: TrialRecord[] = [...(file?.before ?? [])];
  const done = new Set(trials.map(({ id }) => id));
  const tasks = panics.tasks(done, kernels.accelerator.current);
  if (done.size > 0) log(`${out} has ${done.size} trials already; ${tasks.length} are left`);
  const progress = new PanicProgress(context, tasks.length);
  const ran = await runTasks(tasks, {
    partsOf: async (kernel) => await kernels.parts(kernel),
    jobs: options.jobs,
    deadline,
    log,
    signal,
    onTrial: async (trial, ready) => {
      const record = recordOf(trial, panics.repeat(trial.task));
      trials.push(record);
      await file?.append(record);
      if (out !== undefined && (record.outcome !== "complete" || options.keepAll))
        await keepEvidence(`${out}.failed`, record, trial, ready);
      progress.tell(record);
    },
  });
  progress.end();
  if (out !== undefined) log(`Results are in ${out}; what was not complete has its logs in ${out}.failed/`);
  if (ran < tasks.length) log(`The time was up: ${tasks.length - ran} trials are left`);
  return await tellResults(context, { head, trials, twice: [] }, options.json, report);
}

/** Prints a campaign's table, or a matrix. @returns 1 where a dump that we promise was not complete. */
export async function tellResults(
  context: Context,
  results: MergedResults,
  json: true | undefined,
  report: ReportFile | undefined,
): Promise<number> {
  const isMatrix = results.head.kind === "matrix";
  if (json) printJson(context, isMatrix ? matrixJson(results) : campaignJson(results));
  else context.print(isMatrix ? matrixText(results) : campaignText(results));
  if (report) {
    const { campaignPage } = await import("../report/page/from-campaign.ts");
    await report.write(campaignPage(report.setting, results));
  }
  return ourFailures(results.trials).length > 0 ? EXIT.no : EXIT.yes;
}
