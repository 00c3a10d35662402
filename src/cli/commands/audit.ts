/** `audit TARGET`: is what the capture kernel would be told true? */
import { Command } from "commander";
import { auditMachine } from "../../keeper/audit.ts";
import { auditJson, auditText } from "../../report/audit.ts";
import { localAuditJson, localAuditText } from "../../report/local.ts";
import { nodeSha256 } from "../../targets/sha256.ts";
import { LOCAL, LOOK_TARGET_HELP } from "../../targets/target.ts";
import { type Context, printJson } from "../context.ts";
import { exitOfVerdict } from "../exit.ts";
import { lookAtLocal, refuseRoot } from "../local.ts";
import { withMachine } from "../machine.ts";
import {
  crashMemoryOption,
  headerAddressOption,
  hintsOf,
  jsonOption,
  rootOption,
  type RootOptions,
  type WhereOptions,
} from "../options.ts";

export function auditCommand(context: Context, exit: (code: number) => void): Command {
  return new Command("audit")
    .description("say whether a panic now would give a dump with everything that the machine has")
    .argument("<target>", LOOK_TARGET_HELP)
    .addOption(headerAddressOption())
    .addOption(crashMemoryOption())
    .addOption(rootOption())
    .addOption(jsonOption())
    .action(async (target: string, options: WhereOptions & RootOptions & { readonly json?: true }) => {
      if (target === LOCAL) {
        const audit = await lookAtLocal(context, options);
        if (options.json) printJson(context, localAuditJson(target, audit));
        else context.print(localAuditText(target, audit));
        exit(exitOfVerdict(audit.verdict));
        return;
      }
      refuseRoot(target, options);
      const audit = await withMachine(context, target, "look", async (machine) =>
        auditMachine(machine, nodeSha256, hintsOf(options)),
      );
      if (options.json) printJson(context, auditJson(target, audit));
      else context.print(auditText(target, audit));
      exit(exitOfVerdict(audit.verdict));
    });
}
