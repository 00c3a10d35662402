/** `lab fetch` and `lab run`: prove it on real kernels. */
import { Command, Option } from "commander";
import { UDEV_SUITES, type UdevSuite } from "../../lab/fetch/udev.ts";
import { fetchAll, supply } from "../../lab/fetch/supplies.ts";
import { AcceleratorChoice } from "../../lab/guest.ts";
import { buildParts } from "../../lab/parts.ts";
import type { LoadCall } from "../../lab/guest-actions.ts";
import { runScenario, type ScenarioResult, type Way } from "../../lab/scenario.ts";
import { SCHEMA_VERSION } from "../../report/json.ts";
import { labRunJson, labRunText, WAY_WORDS } from "../../report/lab-run.ts";
import { type Context, printJson } from "../context.ts";
import { EXIT, UsageError } from "../exit.ts";
import { campaignCommand, mergeCommand } from "./lab-campaign.ts";
import { matrixCommand } from "./lab-matrix.ts";
import { POLICY_CHOICES, type PolicyChoice, runPolicies } from "./lab-policies.ts";
import {
  accelOption,
  busyboxOption,
  jsonOption,
  kexecOption,
  oneOf,
  parseCount,
  parseDimmSize,
  parseRamSize,
  qemuOption,
  type SuppliesOptions,
} from "../options.ts";
import { openReport, reportOption, type ReportOptions } from "../report-file.ts";
import { Pace, RunProgress } from "../progress.ts";

export function labCommand(context: Context, exit: (code: number) => void): Command {
  return new Command("lab")
    .description("prove it on real kernels under QEMU")
    .addCommand(fetchCommand(context, exit))
    .addCommand(runCommand(context, exit))
    .addCommand(matrixCommand(context, exit))
    .addCommand(campaignCommand(context, exit))
    .addCommand(mergeCommand(context, exit));
}

function fetchCommand(context: Context, exit: (code: number) => void): Command {
  return new Command("fetch")
    .description(
      "fetch the kernels, kexec-tools, busybox, udev and tools that read dumps into the lab's cache; a second call downloads nothing",
    )
    .addOption(jsonOption())
    .action(async (options: { readonly json?: true }) => {
      const pace = new Pace();
      // How long each takes is the network's affair: at the pace of those that are there.
      const left = (done: number, total: number): string => (done === 0 ? "" : `; ${pace.left(done, total)}`);
      const fetched = await fetchAll({
        log: context.say,
        signal: context.signal,
        step: (what, done, total) =>
          context.progress?.(`${done} of ${total} are there${left(done, total)}; next: ${what}`),
      }).finally(() => context.progress?.(""));
      if (options.json) printJson(context, { schemaVersion: SCHEMA_VERSION, ...fetched });
      else context.print(fetched.kernels.map((kernel) => `${kernel.release}  ${kernel.vmlinuz}\n`).join(""));
      exit(EXIT.yes);
    });
}

interface RunOptions extends SuppliesOptions, ReportOptions {
  readonly kernel: string;
  readonly load: LoadCall;
  readonly ram: bigint;
  readonly dimm: bigint;
  readonly dimms: number;
  readonly only?: Way;
  readonly privateRam?: true;
  readonly acpiNoMemhotplug: boolean;
  readonly seed: number;
  readonly json?: true;
  readonly policy?: readonly PolicyChoice[];
  readonly udev?: UdevSuite;
}

function runCommand(context: Context, exit: (code: number) => void): Command {
  return (
    new Command("run")
      .description("boot a real kernel, add memory, panic it, and compare the dump without us and with us")
      .option("--kernel <version-or-file>", "5.10, 6.1, 6.12, or a kernel image", "6.1")
      .addOption(
        new Option("--load <call>", "the system call that loads the capture kernel")
          .choices(["kexec_file_load", "kexec_load"])
          .default("kexec_file_load"),
      )
      // Help shows a default as JSON, which has no bigint: it is given in words.
      .addOption(
        new Option("--ram <size>", "the guest's RAM at its start")
          .argParser(parseRamSize)
          .default(1n << 30n, "1G"),
      )
      .addOption(
        new Option("--dimm <size>", "size of a DIMM").argParser(parseDimmSize).default(1n << 30n, "1G"),
      )
      .option("--dimms <n>", "how many DIMMs are added", parseCount, 2)
      .addOption(new Option("--only <way>", "run only one side").choices(["nothing", "in-place", "plug"]))
      .option("--private-ram", "RAM without a shared file: the gdbstub is used")
      .option(
        "--no-acpi-no-memhotplug",
        "leave acpi_no_memhotplug off the capture kernel's command line, and see the dump fail",
      )
      .option("--seed <n>", "which pages are sampled", parseCount, 1)
      .addOption(accelOption())
      .addOption(
        new Option(
          "--policy <name>",
          `instead of a panic: what a way of keeping kdump accurate costs, with a real udevd; may be repeated (${POLICY_CHOICES.join(", ")})`,
        ).argParser(oneOf(POLICY_CHOICES)),
      )
      .addOption(
        new Option("--udev <suite>", "with --policy: whose udev (default: the kernel's own)").choices(
          UDEV_SUITES,
        ),
      )
      .addOption(qemuOption())
      .addOption(busyboxOption())
      .addOption(kexecOption())
      .addOption(reportOption())
      .addOption(jsonOption())
      .action(async (options: RunOptions) => {
        const { policy, kernel, qemu, busybox, kexec } = options;
        checkPolicyOptions(options);
        const report = await openReport(context, options);
        if (policy) {
          exit(await runPolicies(context, { ...options, policy }, report));
          return;
        }
        const supplies = await supply({
          kernel,
          qemu,
          busybox,
          kexec,
          log: context.say,
          signal: context.signal,
        });
        await using parts = await buildParts(supplies, new AcceleratorChoice(options.accel));
        const results: ScenarioResult[] = [];
        const ways = options.only ? [options.only] : (["nothing", "in-place"] as const);
        const progress = new RunProgress(context, ways.length);
        for (const way of ways) {
          const dimmMiB = Number(options.dimm >> 20n);
          const scenario = {
            load: options.load,
            way,
            ramMiB: Number(options.ram >> 20n),
            crashkernelMiB: 256,
            ram: options.privateRam ? "private" : "shared",
            dimmsMiB: Array.from({ length: options.dimms }, () => dimmMiB),
            acpiNoMemhotplug: options.acpiNoMemhotplug,
            seed: options.seed,
          } as const;
          context.say(`Running ${WAY_WORDS[way]}`);
          const running = runScenario(parts, scenario, {
            log: context.say,
            signal: context.signal,
            begins: (step) => progress.begins(step),
          });
          results.push(await running.finally(() => progress.end()));
        }
        const setting = {
          qemu: supplies.qemu.version,
          kexecTools: supplies.kexec.version,
          accelerator: parts.accelerator.current,
        };
        if (options.json) printJson(context, labRunJson(setting, results));
        else context.print(labRunText(setting, results));
        if (report) {
          const { labRunPage } = await import("../../report/page/from-lab-run.ts");
          await report.write(labRunPage(report.setting, setting, results));
        }
        exit(
          results.some((r) => r.scenario.way !== "nothing" && r.outcome !== "complete") ? EXIT.no : EXIT.yes,
        );
      })
  );
}

/** @throws {UsageError} for options of the one kind of run that were given for the other. */
function checkPolicyOptions({ policy, udev, only, privateRam, acpiNoMemhotplug }: RunOptions): void {
  if (!policy && udev !== undefined) throw new UsageError("--udev goes with --policy");
  if (policy && (only !== undefined || privateRam || !acpiNoMemhotplug))
    throw new UsageError(
      "--policy neither panics the guest nor does without a shared RAM file: leave out --only, --private-ram and --no-acpi-no-memhotplug",
    );
}
