/** `audit TARGET`: is what the capture kernel would be told true? */
import { Command } from "commander";
import { auditMachine } from "../../keeper/audit.ts";
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

interface AuditOptions extends WhereOptions, ReachOptions, RootOptions, PolicyOptions, AuditAllOptions {
  readonly all?: true;
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
    .addOption(jsonOption())
    .action(async (target: string | undefined, options: AuditOptions) => {
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
      if (target === LOCAL) {
        const audit = await lookAtLocal(context, options);
        const policy = options.policy ? await lookAtPolicy(context, options, audit) : undefined;
        if (options.json) printJson(context, localAuditJson(target, audit, policy));
        else context.print(localAuditText(target, audit, policy));
        // What would be done on the next event makes the header of now neither better nor worse.
        exit(exitOfVerdict(audit.verdict));
        return;
      }
      refuseLocalOptions(target, options);
      const audit = await withMachine(context, target, "look", options, async (machine) =>
        auditMachine(machine, nodeSha256, hintsOf(options)),
      );
      if (options.json) printJson(context, auditJson(target, audit));
      else context.print(auditText(target, audit));
      exit(exitOfVerdict(audit.verdict));
    });
}
