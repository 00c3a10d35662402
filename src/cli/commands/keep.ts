/** `keep TARGET`: make the header true, and keep it true; `--once`: make it true and end. */
import { Command } from "commander";
import { Keeper } from "../../keeper/keeper.ts";
import { watch, type WatchEvent } from "../../keeper/watch.ts";
import { reconciledJson, reconciledText } from "../../report/audit.ts";
import { watchJson, watchText } from "../../report/watch.ts";
import { nodeSha256 } from "../../targets/sha256.ts";
import { TARGET_HELP } from "../../targets/target.ts";
import { type Context, printJson } from "../context.ts";
import { EXIT, exitOfVerdict } from "../exit.ts";
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
        if (!options.once) {
          await keepOn(context, target, options);
          exit(EXIT.interrupted);
          return;
        }
        const result = await withMachine(context, target, "change", async (machine) =>
          new Keeper(machine, nodeSha256, hintsOf(options)).reconcile(),
        );
        if (options.json) printJson(context, reconciledJson(target, result));
        else context.print(reconciledText(target, result));
        exit(exitOfVerdict(result.after.verdict));
      },
    );
}

/** Until Ctrl-C; each line is written as it happens. */
async function keepOn(
  context: Context,
  target: string,
  options: WhereOptions & { readonly json?: true },
): Promise<void> {
  const onEvent = (event: WatchEvent): void => {
    const at = new Date().toISOString();
    const line = options.json
      ? `${JSON.stringify(watchJson(target, at, event))}\n`
      : watchText(target, at, event);
    context.print(line);
  };
  await withMachine(context, target, "change", async (machine) => {
    await watch(machine, new Keeper(machine, nodeSha256, hintsOf(options)), {
      onEvent,
      signal: context.signal,
    });
  });
}
