/** `keep --once TARGET`: make the header true. */
import { Command } from "commander";
import { Keeper } from "../../keeper/keeper.ts";
import { reconciledJson, reconciledText } from "../../report/audit.ts";
import { nodeSha256 } from "../../targets/sha256.ts";
import { TARGET_HELP } from "../../targets/target.ts";
import { type Context, printJson } from "../context.ts";
import { exitOfVerdict, UsageError } from "../exit.ts";
import { withMachine } from "../machine.ts";
import {
  crashMemoryOption,
  headerAddressOption,
  hintsOf,
  jsonOption,
  type WhereOptions,
} from "../options.ts";

export function keepCommand(context: Context, exit: (code: number) => void): Command {
  return new Command("keep")
    .description("make what the capture kernel would be told true, from outside, without a reload")
    .argument("<target>", TARGET_HELP)
    .option("--once", "look once, install the difference, verify, and end")
    .addOption(headerAddressOption())
    .addOption(crashMemoryOption())
    .addOption(jsonOption())
    .action(
      async (target: string, options: WhereOptions & { readonly once?: true; readonly json?: true }) => {
        if (!options.once)
          throw new UsageError("Cannot keep running yet: give --once, and call it again after each change");
        const result = await withMachine(context, target, "change", async (machine) =>
          new Keeper(machine, nodeSha256, hintsOf(options)).reconcile(),
        );
        if (options.json) printJson(context, reconciledJson(target, result));
        else context.print(reconciledText(target, result));
        exit(exitOfVerdict(result.after.verdict));
      },
    );
}
