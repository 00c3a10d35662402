/** `load local`: arm a capture kernel so that later changes cost as little as can be. */
import { Command } from "commander";
import type { GivenCapture } from "../../targets/local/capture-files.ts";
import { LOCAL, TargetError } from "../../targets/target.ts";
import type { Context } from "../context.ts";
import { loadLocal } from "../keep-local.ts";
import {
  captureCommandLineOption,
  captureInitrdOption,
  captureKernelOption,
  jsonOption,
} from "../options.ts";

export function loadCommand(context: Context, exit: (code: number) => void): Command {
  return new Command("load")
    .description(
      "load the capture kernel, over the one that is loaded, and give its header room for 8,192 ranges of memory",
    )
    .argument("[target]", "local, the machine that this runs in", LOCAL)
    .addOption(captureKernelOption())
    .addOption(captureInitrdOption())
    .addOption(captureCommandLineOption())
    .addOption(jsonOption())
    .action(async (target: string, options: GivenCapture & { readonly json?: true }) => {
      if (target !== LOCAL)
        throw new TargetError(
          `Cannot load a capture kernel into ${JSON.stringify(target)} from here: expected local; in a guest, run this program or kexec -p there`,
        );
      exit(await loadLocal(context, options));
    });
}
