/** `lab run --policy`: what each way of keeping kdump accurate costs, in real guests with a real udevd. */
import { suiteOf } from "../../lab/fetch/kernel.ts";
import { supply } from "../../lab/fetch/supplies.ts";
import type { UdevSuite } from "../../lab/fetch/udev.ts";
import type { LoadCall } from "../../lab/guest-actions.ts";
import { AcceleratorChoice } from "../../lab/guest.ts";
import { buildParts } from "../../lab/parts.ts";
import { LAB_POLICIES, type LabPolicy, type LabPolicyName } from "../../lab/policies/policy.ts";
import { predictRun } from "../../lab/policies/predict.ts";
import { runPolicy } from "../../lab/policy-run.ts";
import { policyRunsJson, policyRunsText, type PolicyRunReport } from "../../report/policy-run.ts";
import { type Context, printJson } from "../context.ts";
import { EXIT } from "../exit.ts";
import type { SuppliesOptions } from "../options.ts";
import type { ReportFile } from "../report-file.ts";

/** What `--policy` names. */
export type PolicyChoice = LabPolicyName | "all";

/** Everything that `--policy` takes. */
export const POLICY_CHOICES: readonly PolicyChoice[] = [...LAB_POLICIES.map(({ name }) => name), "all"];

/** The options of `lab run` that a run of policies takes; sizes in bytes. */
export interface PolicyOptions extends SuppliesOptions {
  readonly policy: readonly PolicyChoice[];
  readonly kernel: string;
  readonly udev?: UdevSuite;
  readonly load: LoadCall;
  readonly ram: bigint;
  readonly dimm: bigint;
  readonly dimms: number;
  readonly json?: true;
}

/** Runs the policies one after the other, reports, and gives the exit code. */
export async function runPolicies(
  context: Context,
  options: PolicyOptions,
  report: ReportFile | undefined,
): Promise<number> {
  const { kernel, qemu, busybox, kexec, load, json } = options;
  const { say: log, signal } = context;
  const udev = options.udev ?? suiteOf(kernel);
  const supplies = await supply({ kernel, qemu, busybox, kexec, udev, log, signal });
  await using parts = await buildParts(supplies, new AcceleratorChoice(options.accel));
  const dimmsMiB = Array.from({ length: options.dimms }, () => Number(options.dimm >> 20n));
  const runs: PolicyRunReport[] = [];
  for (const { name: policy, title } of chosen(options)) {
    log(`Running policy ${policy}: ${title}`);
    const wanted = { policy, load, ramMiB: Number(options.ram >> 20n), crashkernelMiB: 256, dimmsMiB };
    const result = await runPolicy(parts, wanted, supplies.udev!, { log, signal });
    runs.push({ result, prediction: predictRun(result) });
  }
  const setting = {
    qemu: supplies.qemu.version,
    kexecTools: supplies.kexec.version,
    accelerator: parts.accelerator.current,
  };
  if (json) printJson(context, policyRunsJson(setting, runs));
  else context.print(policyRunsText(setting, runs));
  if (report) {
    const { policyRunsPage } = await import("../../report/page/from-policy-run.ts");
    await report.write(policyRunsPage(report.setting, setting, runs));
  }
  return runs.some(({ result }) => result.failures.length > 0) ? EXIT.no : EXIT.yes;
}

/** In a report's order, each once. `all` leaves out what the lab's older kernels are known not to do. */
function chosen({ policy, kernel }: PolicyOptions): readonly LabPolicy[] {
  const old = kernel === "5.10" || kernel === "6.1";
  return LAB_POLICIES.filter(
    ({ name, needsKernel }) => policy.includes(name) || (policy.includes("all") && !(needsKernel && old)),
  );
}
