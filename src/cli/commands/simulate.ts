/** `simulate`: what each policy costs, in virtual time. */
import { writeFile } from "node:fs/promises";
import { Command, InvalidArgumentError, Option } from "commander";
import type { ReplayedHeaders } from "../../report/page/from-simulation.ts";
import { rfcJson, rfcText } from "../../report/rfc.ts";
import { simulationJson, simulationText, sweepJson, sweepText } from "../../report/simulate.ts";
import { type Band, timelineSvg, timelineText } from "../../report/timeline.ts";
import { RuleSet } from "../../rules/evaluate.ts";
import { kernelFor, KERNELS } from "../../simulation/kernels.ts";
import { type LoadCall, updatesHeader } from "../../simulation/load.ts";
import { type Costs, DEFAULT_COSTS, plainCosts } from "../../simulation/world/costs.ts";
import { type Comparison, compareRuns } from "../../simulation/world/outcome.ts";
import {
  POLICIES,
  type Policy,
  POLICY_NAMES,
  policyOf,
  policyOfRules,
} from "../../simulation/world/policy.ts";
import { compareWithRfc } from "../../simulation/world/rfc-comparison.ts";
import { type RunOptions, runPolicy, type TimedChange } from "../../simulation/world/run.ts";
import { parseScenario } from "../../simulation/world/scenario-file.ts";
import { type Scenario, scenarioOf, SCENARIOS } from "../../simulation/world/scenario.ts";
import { sweep } from "../../simulation/world/sweep.ts";
import { readRuleDirectories } from "../../targets/local/rules-files.ts";
import { panicAtRandom, type PanicCounts } from "../../targets/simulated/panics.ts";
import { type Context, printJson } from "../context.ts";
import { EXIT, UsageError } from "../exit.ts";
import { jsonOption, parseCount } from "../options.ts";
import { Progress } from "../progress.ts";
import { readInput } from "../read-input.ts";
import { openReport, type ReportFile, reportOption, type ReportOptions } from "../report-file.ts";

interface SimulateOptions extends ReportOptions {
  readonly policy?: readonly string[];
  readonly rulesDir?: readonly string[];
  readonly kernel?: string;
  readonly load: LoadCall;
  readonly cost: ReadonlyMap<string, number>;
  readonly panics?: number;
  readonly sweep?: number;
  readonly seed: number;
  readonly timeline?: true;
  readonly picture?: true;
  readonly svg?: string;
  readonly json?: true;
}

const DEFAULT_SCENARIO = "dimm-1g";

export function simulateCommand(context: Context, exit: (code: number) => void): Command {
  return new Command("simulate")
    .description("what each policy costs, on a simulated machine in virtual time")
    .argument(
      "[scenario]",
      `rfc (the RFC's table), ${SCENARIOS.map(({ name }) => name).join(", ")}, or a file`,
      DEFAULT_SCENARIO,
    )
    .option("--policy <name>", `one of ${POLICY_NAMES.join(", ")}; may be repeated (default: all)`, append)
    .option("--rules-dir <dir>", "udev rules of your own as one more policy; may be repeated", append)
    .addOption(
      new Option(
        "--kernel <version>",
        "the machine's kernel (default: the newest that fits the policy)",
      ).choices(KERNELS.map(({ name }) => name)),
    )
    .addOption(
      new Option("--load <call>", "the system call that loads capture images")
        .choices(["kexec_file_load", "kexec_load"])
        .default("kexec_file_load"),
    )
    .option("--cost <name=ms>", "a cost of your own, such as load=1300; may be repeated", cost, new Map())
    .option("--panics <n>", "also panic a machine of bytes at so many random moments", parseCount)
    .option("--sweep <n>", "so many random scenarios in place of one", parseCount)
    .option("--seed <n>", "of what is random", parseCount, 1)
    .option("--timeline", "also draw it over time")
    .option("--picture", "draw it over time, and the memory as maps of characters")
    .option("--svg <file>", "write the timeline as SVG")
    .addOption(reportOption())
    .addOption(jsonOption())
    .addHelpText("after", `\nCosts, in ms unless they say otherwise:\n${costHelp()}`)
    .action(async (name: string, options: SimulateOptions, command: Command) => {
      if (options.sweep !== undefined) {
        if (command.args.length > 0) throw new UsageError("Give a scenario or --sweep, and only one of them");
        if (options.report !== undefined)
          throw new UsageError(
            "--report is of one scenario: leave out --sweep, whose table says all that it has",
          );
        runSweep(context, options, await policiesOf(options));
        return exit(EXIT.yes);
      }
      if (options.picture && options.json) throw new UsageError("Give either --picture or --json");
      const report = await openReport(context, options);
      if (name === "rfc") return exit(await runRfc(context, options, report));
      await runScenario(context, await readScenario(name), options, report);
      exit(EXIT.yes);
    });
}

async function runRfc(
  context: Context,
  options: SimulateOptions,
  report: ReportFile | undefined,
): Promise<number> {
  const { policy, rulesDir, kernel, panics, timeline, picture } = options;
  if (policy ?? rulesDir ?? kernel ?? panics ?? timeline ?? picture)
    throw new UsageError(
      "simulate rfc takes --json, --svg and --report only: the table has its own policies and costs",
    );
  const comparison = compareWithRfc(report !== undefined);
  if (options.json) printJson(context, rfcJson(comparison));
  else context.print(rfcText(comparison));
  for (const [i, { scenario, comparison: one }] of comparison.scenarios.entries())
    if (options.svg !== undefined) {
      const path = i === 0 ? options.svg : options.svg.replace(/(\.svg)?$/, `-${scenario.name}.svg`);
      await writeSvg(context, path, scenario, one);
    }
  if (report) {
    const { rfcPage } = await import("../../report/page/from-rfc.ts");
    await report.write(rfcPage(report.setting, comparison));
  }
  return comparison.cells.every(({ holds }) => holds) ? EXIT.yes : EXIT.no;
}

function runSweep(
  context: Context,
  { sweep: count = 1, seed, json, cost: given }: SimulateOptions,
  policies: readonly Policy[],
): void {
  const progress = new Progress(context, count);
  const rows = sweep({
    policies,
    costs: costsWith(given),
    count,
    seed,
    check: () => {
      context.signal.throwIfAborted();
      progress.next("scenarios");
    },
  });
  progress.end();
  if (json) printJson(context, sweepJson(rows, count, seed));
  else context.print(sweepText(rows, count, seed));
}

async function runScenario(
  context: Context,
  scenario: Scenario,
  options: SimulateOptions,
  report: ReportFile | undefined,
): Promise<void> {
  const costs = costsWith(options.cost);
  const runs = (await policiesOf(options)).map((policy): RunOptions => {
    const kernel = KERNELS.find(({ name }) => name === options.kernel) ?? kernelFor(policy.needsCrashHotplug);
    return { scenario, policy, costs, kernel, call: options.load };
  });
  const traces = new Map<string, TimedChange[]>();
  const comparison = compareRuns(
    runs.map((run) => {
      context.signal.throwIfAborted();
      const trace: TimedChange[] | undefined = report || options.picture ? [] : undefined;
      if (trace) traces.set(run.policy.name, trace);
      return runPolicy({ ...run, trace });
    }),
  );
  const sampled = new Map<string, PanicCounts>();
  const progress = new Progress(context, (options.panics ?? 0) * runs.length);
  for (const run of options.panics === undefined ? [] : runs)
    sampled.set(
      run.policy.name,
      await panicAtRandom({
        ...run,
        count: options.panics!,
        seed: options.seed,
        window: comparison.windowSeconds * 1000,
        check: () => {
          context.signal.throwIfAborted();
          progress.next("panics");
        },
      }),
    );
  progress.end();
  const setting = { scenario, load: options.load, costs, sources: DEFAULT_COSTS };
  if (options.json) printJson(context, simulationJson(setting, comparison, sampled));
  else {
    context.print(simulationText(setting, comparison, sampled));
    if (options.timeline || options.picture)
      context.print(`\n${timelineText(bandsOf(comparison), comparison.windowSeconds * 1000, TERMINAL)}`);
    if (options.picture) await drawPicture(context, scenario, comparison, traces);
  }
  if (options.svg !== undefined) await writeSvg(context, options.svg, scenario, comparison);
  if (!report) return;
  const { simulationPage } = await import("../../report/page/from-simulation.ts");
  const headers = await replayedHeaders(runs, traces);
  await report.write(simulationPage(report.setting, setting, comparison, sampled, traces, headers));
}

async function drawPicture(
  context: Context,
  scenario: Scenario,
  comparison: Comparison,
  traces: ReadonlyMap<string, readonly TimedChange[]>,
): Promise<void> {
  const { mapOf } = await import("../../report/page/from-simulation.ts");
  const { memoryMapText } = await import("../../report/memory-map.ts");
  const { section, leftOut } = mapOf(scenario.bootBlocks, comparison, traces);
  context.print(
    section ? `\n${memoryMapText(section)}` : "\nNo memory comes or goes: there is no map of it\n",
  );
  if (leftOut.length > 0) context.say(`Not drawn, they have too many steps: ${leftOut.join(", ")}`);
}

/** More changes than this are not made to a machine of bytes for its header alone. */
const MAX_REPLAYED = 1000;

async function replayedHeaders(
  runs: readonly RunOptions[],
  traces: ReadonlyMap<string, readonly TimedChange[]>,
): Promise<ReplayedHeaders | { readonly none: string }> {
  const run = runs.find(({ policy }) => policy.name === "in-place") ?? runs[0]!;
  const trace = traces.get(run.policy.name) ?? [];
  if (trace.length > MAX_REPLAYED)
    return {
      none: `${run.policy.name} has ${trace.length} changes: more than ${MAX_REPLAYED} are not made to a machine of bytes for this alone`,
    };
  const { headersAround } = await import("../../targets/simulated/headers.ts");
  const headers = await headersAround(run, trace);
  return headers === undefined
    ? { none: "no capture kernel is loaded at the end" }
    : { policy: run.policy.name, ...headers };
}

/** Columns of a terminal that every log and mail shows whole. */
const TERMINAL = 100;

async function writeSvg(
  context: Context,
  path: string,
  scenario: Scenario,
  comparison: Comparison,
): Promise<void> {
  const title = `Simulated: ${scenario.title}`;
  await writeFile(path, timelineSvg(title, bandsOf(comparison), comparison.windowSeconds * 1000));
  context.say(`Wrote ${path}`);
}

function bandsOf({ outcomes }: Comparison): readonly Band[] {
  return outcomes.map(({ run, intervals }) => ({ name: run.policy.name, intervals }));
}

async function readScenario(name: string): Promise<Scenario> {
  const isFile = name.includes("/") || name.endsWith(".json");
  if (!isFile) return scenarioOf(name);
  return parseScenario(await readInput(name, "a scenario file, or the name of one that is built in"), name);
}

/** Those that are named, or all; and rules of the user's own. */
async function policiesOf({
  policy,
  rulesDir = [],
  kernel,
  load,
}: SimulateOptions): Promise<readonly Policy[]> {
  const own: Policy[] = [];
  for (const directory of rulesDir) {
    const sources = await readRuleDirectories([directory], undefined);
    if (sources.length === 0) throw new UsageError(`No rules were found in ${directory}`);
    own.push(policyOfRules(directory, RuleSet.parse(sources)));
  }
  if (policy) return [...policy.map(policyOf), ...own];
  // Asked for all of them, those that cannot run on that kernel are left out.
  const model = KERNELS.find(({ name }) => name === kernel);
  const possible = POLICIES.filter(
    ({ needsCrashHotplug }) =>
      !needsCrashHotplug || updatesHeader(model ?? kernelFor(needsCrashHotplug), load),
  );
  return [...possible, ...own];
}

function costsWith(given: ReadonlyMap<string, number>): Costs {
  return { ...plainCosts(DEFAULT_COSTS), ...Object.fromEntries(given) };
}

function costHelp(): string {
  return Object.entries(DEFAULT_COSTS)
    .map(([name, { value, origin, source }]) => `  ${`${name}=${value}`.padEnd(24)} ${origin}: ${source}\n`)
    .join("");
}

function append(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

function cost(text: string, before: ReadonlyMap<string, number>): ReadonlyMap<string, number> {
  const [, name = "", value] = /^([A-Za-z]+)=(\d{1,12}(?:\.\d{1,9})?)$/.exec(text) ?? [];
  if (!Object.hasOwn(DEFAULT_COSTS, name) || value === undefined)
    throw new InvalidArgumentError(
      `expected NAME=MILLISECONDS with one of ${Object.keys(DEFAULT_COSTS).join(", ")}`,
    );
  if (name === "workers" && Number(value) < 1) throw new InvalidArgumentError("udev has at least one worker");
  return new Map([...before, [name, Number(value)]]);
}
