/** `keep TARGET`: make the header true, and keep it true; `--once`: make it true and end. */
import { Command } from "commander";
import { Keeper } from "../../keeper/keeper.ts";
import { watch } from "../../keeper/watch.ts";
import { reconciledJson, reconciledText } from "../../report/audit.ts";
import { OUTSIDE_INSTALLS } from "../../report/watch.ts";
import { nodeSha256 } from "../../targets/sha256.ts";
import { LOCAL, LOOK_TARGET_HELP } from "../../targets/target.ts";
import { type Context, printJson } from "../context.ts";
import { EXIT, exitOfVerdict } from "../exit.ts";
import { eventPrinter, keepLocal, type KeepOptions, refuseInsideOptions } from "../keep-local.ts";
import { withMachine } from "../machine.ts";
import {
  captureCommandLineOption,
  captureInitrdOption,
  captureKernelOption,
  crashMemoryOption,
  headerAddressOption,
  hintsOf,
  jsonOption,
  rootOption,
  throughQemuOption,
} from "../options.ts";

export function keepCommand(context: Context, exit: (code: number) => void): Command {
  return new Command("keep")
    .description("make what the capture kernel would be told true, without unloading it, and keep it true")
    .argument("<target>", LOOK_TARGET_HELP)
    .option("--once", "look once, install the difference, verify, and end")
    .addOption(headerAddressOption())
    .addOption(crashMemoryOption())
    .option("--dry-run", "local only: say what would be done, and touch nothing")
    .option(
      "--install",
      "local only: let the distribution's rules no longer reload kdump, by copies of their files in the directory that udev reads first; and end",
    )
    .option("--uninstall", "local only: take those copies away, and end")
    .addOption(rootOption())
    .addOption(captureKernelOption())
    .addOption(captureInitrdOption())
    .addOption(captureCommandLineOption())
    .addOption(throughQemuOption())
    .addOption(jsonOption())
    .action(async (target: string, options: KeepOptions) => {
      if (target === LOCAL) {
        exit(await keepLocal(context, options));
        return;
      }
      refuseInsideOptions(target, options);
      if (!options.once) {
        await withMachine(context, target, "change", options, async (machine) => {
          const keeper = new Keeper(machine, nodeSha256, hintsOf(options));
          const onEvent = eventPrinter(context, target, options, OUTSIDE_INSTALLS);
          await watch(machine, keeper, { onEvent, signal: context.signal });
        });
        exit(EXIT.interrupted);
        return;
      }
      const result = await withMachine(context, target, "change", options, async (machine) =>
        new Keeper(machine, nodeSha256, hintsOf(options)).reconcile(),
      );
      if (options.json) printJson(context, reconciledJson(target, result));
      else context.print(reconciledText(target, result));
      exit(exitOfVerdict(result.after.verdict));
    });
}
