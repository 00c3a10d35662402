/** `audit TARGET`: is what the capture kernel would be told true? */
import { Command } from "commander";
import { type Audit, auditMachine } from "../../keeper/audit.ts";
import { auditJson, auditText } from "../../report/audit.ts";
import { localAuditJson, localAuditText } from "../../report/local.ts";
import { nodeSha256 } from "../../targets/sha256.ts";
import { LOCAL, LOOK_TARGET_HELP } from "../../targets/target.ts";
import type { AuditAllOptions } from "../audit-all.ts";
import { type Context, printJson } from "../context.ts";
import { exitOfVerdict, UsageError } from "../exit.ts";
import { lookAtLocal, lookAtPolicy, refuseLocalOptions } from "../local.ts";
import { withMachine } from "../machine.ts";
import {
  crashMemoryOption,
  headerAddressOption,
  hintsOf,
  jsonOption,
  policyOption,
  type PolicyOptions,
  type ReachOptions,
  rootOption,
  type RootOptions,
  throughQemuOption,
  type WhereOptions,
} from "../options.ts";
import { openReport, reportOption, type ReportOptions } from "../report-file.ts";

interface AuditOptions
  extends WhereOptions, ReachOptions, RootOptions, PolicyOptions, AuditAllOptions, ReportOptions {
  readonly all?: true;
  readonly picture?: true;
}

export function auditCommand(context: Context, exit: (code: number) => void): Command {
  return new Command("audit")
    .description("say whether a panic now would give a dump with everything that the machine has")
    .argument("[target]", LOOK_TARGET_HELP)
    .option("--all", "every target of this user's keepers, or of --config")
    .option("--config <file>", "with --all: the targets of a configuration file of keep")
    .option(
      "--nagios",
      "one line for a monitoring system, exit code 0 OK, 1 WARNING (a dump would not be whole), 2 CRITICAL (none), 3 UNKNOWN",
    )
    .addOption(headerAddressOption())
    .addOption(crashMemoryOption())
    .addOption(rootOption())
    .addOption(policyOption())
    .addOption(throughQemuOption())
    .option("--picture", "also draw the memory as a map of characters")
    .addOption(reportOption())
    .addOption(jsonOption())
    .action(async (target: string | undefined, options: AuditOptions) => {
      if ((options.all || options.nagios) && (options.report !== undefined || options.picture))
        throw new UsageError("--report and --picture are of one TARGET: leave out --all and --nagios");
      if (options.picture && options.json) throw new UsageError("Give either --picture or --json");
      if (options.nagios) {
        const { auditNagios } = await import("../audit-all.ts");
        exit(await auditNagios(context, target, options));
        return;
      }
      if (target !== undefined && options.all) throw new UsageError("Give either a TARGET or --all");
      if (options.config !== undefined && !options.all) throw new UsageError("--config goes with --all");
      if (options.all) {
        const { auditAll } = await import("../audit-all.ts");
        exit(await auditAll(context, options));
        return;
      }
      if (target === undefined)
        throw new UsageError(
          `error: missing required argument 'target' (or --all): ${LOOK_TARGET_HELP}\nSee kdump-hotplug audit --help`,
        );
      const report = await openReport(context, options);
      if (target === LOCAL) {
        const audit = await lookAtLocal(context, options);
        const policy = options.policy ? await lookAtPolicy(context, options, audit) : undefined;
        if (options.json) printJson(context, localAuditJson(target, audit, policy));
        else context.print(localAuditText(target, audit, policy));
        if (options.picture) await drawPicture(context, audit);
        if (report) {
          const { auditPage } = await import("../../report/page/from-audit.ts");
          const text = localAuditText(target, audit, policy);
          const details = { title: "What this kernel and its rules say of kdump", text };
          await report.write(auditPage(report.setting, target, audit, details));
        }
        // What would be done on the next event makes the header of now neither better nor worse.
        exit(exitOfVerdict(audit.verdict));
        return;
      }
      refuseLocalOptions(target, options);
      const look = async (surroundings: Context): Promise<Audit> =>
        await withMachine(surroundings, target, "look", options, async (machine) =>
          auditMachine(machine, nodeSha256, hintsOf(options)),
        );
      const audit = await (report ? report.fromKeeper(look) : look(context));
      if (options.json) printJson(context, auditJson(target, audit));
      else context.print(auditText(target, audit));
      if (options.picture) await drawPicture(context, audit);
      if (report) {
        const { auditPage } = await import("../../report/page/from-audit.ts");
        await report.write(auditPage(report.setting, target, audit, undefined));
      }
      exit(exitOfVerdict(audit.verdict));
    });
}

/** Not by itself: who reads this output by lines or words goes on as before. */
async function drawPicture(context: Context, audit: Audit): Promise<void> {
  const { auditMap } = await import("../../report/page/from-audit.ts");
  const { memoryMapText } = await import("../../report/memory-map.ts");
  const map = auditMap(audit);
  context.print(
    map === undefined ? "\nNothing is known of the machine's memory\n" : `\n${memoryMapText(map)}`,
  );
}
