/** `lab campaign` and `lab merge`: many panics, and what they gave. */
import { appendFile, mkdir, truncate, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { keepEvidence } from "../../lab/campaign/keep.ts";
import { type Shard, shardTrials } from "../../lab/campaign/plan.ts";
import {
  type CampaignHead,
  type CampaignResults,
  mergeResults,
  readResults,
  resultLine,
  ResultsError,
  samePlans,
  type TrialRecord,
} from "../../lab/campaign/results.ts";
import { runTasks, tasksOf, type Variant } from "../../lab/campaign/runner.ts";
import { KEEPING_WAYS, type KeepingName } from "../../lab/campaign/ways.ts";
import { isKernelSeries, KERNEL_SUITES } from "../../lab/fetch/kernel.ts";
import { type LabSupplies, supply } from "../../lab/fetch/supplies.ts";
import type { LoadCall } from "../../lab/guest-actions.ts";
import { AcceleratorChoice } from "../../lab/guest.ts";
import { buildParts, type BuiltParts } from "../../lab/parts.ts";
import { campaignJson, campaignRows, campaignText, ourFailures } from "../../report/campaign.ts";
import { recordOf } from "../../report/trial-record.ts";
import { type Context, printJson } from "../context.ts";
import { EXIT, UsageError } from "../exit.ts";
import { jsonOption, parseCount } from "../options.ts";

interface CampaignOptions {
  readonly kernel?: readonly string[];
  readonly load?: readonly LoadCall[];
  readonly way?: readonly KeepingName[];
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
  readonly accel: "auto" | "kvm" | "tcg";
  readonly qemu?: string;
  readonly busybox?: string;
  readonly kexec?: string;
  readonly json?: true;
}

const LOADS: readonly LoadCall[] = ["kexec_file_load", "kexec_load"];

export function campaignCommand(context: Context, exit: (code: number) => void): Command {
  return new Command("campaign")
    .description(
      "panic real guests at seeded random moments while memory comes and goes, and count complete, incomplete and missing dumps",
    )
    .addOption(
      new Option(
        "--kernel <version-or-file>",
        "5.10, 6.1, 6.12, or a kernel image; may be repeated (default: 6.1)",
      ).argParser(collect),
    )
    .addOption(
      new Option(
        "--load <call>",
        `the system call that loads the capture kernel (${LOADS.join(", ")}); may be repeated (default: ${LOADS[0]})`,
      ).argParser(oneOf(LOADS)),
    )
    .addOption(
      new Option(
        "--way <name>",
        `a way of keeping kdump (${KEEPING_WAYS.map(({ name }) => name).join(", ")}); may be repeated (default: in-place, plug)`,
      ).argParser(oneOf(KEEPING_WAYS.map(({ name }) => name))),
    )
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
    .addOption(
      new Option("--accel <name>", "how QEMU runs the guest").choices(["auto", "kvm", "tcg"]).default("auto"),
    )
    .option("--qemu <file>", "qemu-system-x86_64")
    .option("--busybox <file>", "a static busybox")
    .option("--kexec <file>", "kexec of kexec-tools")
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
  const variants = variantsOf(options);
  await using kernels = new Kernels(context, options);
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

/** Every kernel with every system call and way, but for a kernel's own handler where the lab's kernels have none. */
function variantsOf(options: CampaignOptions): readonly Variant[] {
  const kernels = options.kernel ?? ["6.1"];
  const loads = options.load ?? LOADS.slice(0, 1);
  const ways = options.way ?? ["in-place", "plug"];
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

/** What a user types to run one trial again. Its plan is the same; where the kernel lies and how fast it is are not. */
function repeatCommand(
  { kernel, load, way, plan }: Variant & { readonly plan: { readonly index: number } },
  options: CampaignOptions,
): string {
  return `kdump-hotplug lab campaign --kernel ${kernel} --load ${load} --way ${way} --seed ${options.seed} --fresh-every ${options.freshEvery} --pages-every ${options.pagesEvery} --trial ${plan.index} --jobs 1`;
}

/** What guests are made of, once for each kernel. */
class Kernels implements AsyncDisposable {
  readonly accelerator: AcceleratorChoice;
  readonly #context: Context;
  readonly #options: CampaignOptions;
  readonly #supplies = new Map<string, Promise<LabSupplies>>();
  readonly #parts = new Map<string, Promise<BuiltParts>>();

  constructor(context: Context, options: CampaignOptions) {
    this.#context = context;
    this.#options = options;
    this.accelerator = new AcceleratorChoice(options.accel);
  }

  async supplies(kernel: string): Promise<LabSupplies> {
    const { qemu, busybox, kexec, way = [] } = this.#options;
    const { say: log, signal } = this.#context;
    const needsUdev = way.some((name) => name === "reload" || name === "throttled");
    const udev = needsUdev ? (isKernelSeries(kernel) ? KERNEL_SUITES[kernel] : "trixie") : undefined;
    const known = this.#supplies.get(kernel) ?? supply({ kernel, qemu, busybox, kexec, udev, log, signal });
    this.#supplies.set(kernel, known);
    return known;
  }

  async parts(kernel: string): Promise<BuiltParts> {
    const known =
      this.#parts.get(kernel) ??
      this.supplies(kernel).then(async (supplies) => await buildParts(supplies, this.accelerator));
    this.#parts.set(kernel, known);
    return known;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const parts of this.#parts.values()) {
      const built = await parts.catch(() => undefined);
      await built?.[Symbol.asyncDispose]();
    }
  }
}

/** A file of results that grows by whole lines. */
class ResultsFile {
  readonly before: readonly TrialRecord[];
  readonly #path: string;
  #last: Promise<void> = Promise.resolve();

  private constructor(path: string, before: readonly TrialRecord[]) {
    this.#path = path;
    this.before = before;
  }

  /** @throws {ResultsError} where the file has another campaign's results. */
  static async open(path: string, head: CampaignHead): Promise<ResultsFile> {
    const results = await readResults(path);
    if (!results) {
      await mkdir(dirname(path), { recursive: true });
      await truncateTo(path, 0);
      await appendFile(path, resultLine(head));
      return new ResultsFile(path, []);
    }
    if (!samePlans(results.head, head))
      throw new ResultsError(
        `${path} has results of another campaign (seed ${results.head.seed}, --fresh-every ${results.head.freshEvery}, --pages-every ${results.head.pagesEvery}); give the same, or another --out`,
      );
    // A run that was killed may have left half a line.
    await truncateTo(path, (await readFile(path)).lastIndexOf("\n") + 1);
    return new ResultsFile(path, results.trials);
  }

  async append(record: TrialRecord): Promise<void> {
    this.#last = this.#last.then(async () => await appendFile(this.#path, resultLine(record)));
    await this.#last;
  }
}

async function truncateTo(path: string, length: number): Promise<void> {
  await truncate(path, length).catch((error: unknown) => {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
  });
}

/** One line that is written over again and again; only on a terminal. */
class Progress {
  readonly #context: Context;
  readonly #total: number;
  readonly #started = performance.now();
  readonly #counts = { complete: 0, incomplete: 0, "no-dump": 0 };
  #done = 0;

  constructor(context: Context, total: number) {
    this.#context = context;
    this.#total = total;
  }

  tell({ outcome }: TrialRecord): void {
    this.#counts[outcome]++;
    this.#done++;
    const left = ((performance.now() - this.#started) / this.#done) * (this.#total - this.#done);
    const { complete, incomplete, "no-dump": none } = this.#counts;
    this.#context.progress?.(
      `${this.#done} of ${this.#total} panics: ${complete} complete, ${incomplete} incomplete, ${none} without a dump; about ${Math.ceil(left / 60_000)} min left`,
    );
  }

  end(): void {
    this.#context.progress?.("");
  }
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
