/** `keep TARGET`: make the header true, and keep it true; `--once`: make it true and end. */
import { Command } from "commander";
import { Keeper } from "../../keeper/keeper.ts";
import { reconciledJson, reconciledText } from "../../report/audit.ts";
import { nodeSha256 } from "../../targets/sha256.ts";
import { LOCAL, LOOK_TARGET_HELP } from "../../targets/target.ts";
import { withChangedMachine } from "../changed-machine.ts";
import { type Context, printJson } from "../context.ts";
import { EXIT, exitOfVerdict, UsageError } from "../exit.ts";
import { journalOption } from "../journaled.ts";
import { keepLocal, type KeepOptions, refuseInsideOptions } from "../keep-local.ts";
import { isService } from "../is-service.ts";
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
    .argument("[target...]", `${LOOK_TARGET_HELP}; PATH may be a pattern`)
    .option(
      "--config <file>",
      "keep what is listed in this JSON file too, and read it again on SIGHUP: targets, lookEverySeconds",
    )
    .option(
      "--listen <[host:]port>",
      "service and local: serve /metrics, /healthz and /readyz there; a port alone is loopback's",
    )
    .option(
      "--textfile <file>",
      "service and local: write the metrics there for the node exporter, every 15 s",
    )
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
    .addOption(journalOption())
    .addOption(throughQemuOption())
    .addOption(jsonOption())
    .addHelpText("after", SERVICE_HELP)
    .action(async (targets: readonly string[], options: KeepOptions) => {
      const [target] = targets;
      if (target === undefined && options.config === undefined)
        throw new UsageError(
          `error: missing required argument 'target' (or --config FILE): ${LOOK_TARGET_HELP}\nSee kdump-hotplug keep --help`,
        );
      if (target === undefined || isService(targets, options)) {
        refuseSingleOptions(options);
        const { keepService } = await import("../keep-service.ts");
        exit(await keepService(context, targets, options));
        return;
      }
      if (target === LOCAL) {
        exit(await keepLocal(context, options));
        return;
      }
      refuseInsideOptions(target, options);
      if (!options.once) {
        const { keepForeground } = await import("../keep-foreground.ts");
        await keepForeground(context, target, options);
        exit(EXIT.interrupted);
        return;
      }
      const result = await withChangedMachine(context, target, options, async (machine, { journal, log }) => {
        const reconciled = await new Keeper(machine, nodeSha256, hintsOf(options), log).reconcile();
        const event = { kind: "verdict", audit: reconciled.after } as const;
        journal?.onEvent({ target, at: Date.now(), event });
        return reconciled;
      });
      if (options.json) printJson(context, reconciledJson(target, result));
      else context.print(reconciledText(target, result));
      exit(exitOfVerdict(result.after.verdict));
    });
}

const SERVICE_HELP = `
One plain TARGET is kept until its guest ends (exit code 128), local until Ctrl-C. Several, a pattern such as 'qmp:/run/guests/*.sock' or 'libvirt:*',
--config, --listen or --textfile make a service: guests that end are waited for, others are taken in as they come, and only SIGTERM or Ctrl-C
ends it. While a guest is kept, audit, inspect, plug and unplug of it are carried out by its keeper.
`;

/** @throws {UsageError} where an option for one machine was given to a service. */
function refuseSingleOptions(options: KeepOptions): void {
  const { once, headerAddress, crashMemory } = options;
  refuseInsideOptions("a service", options);
  const given = Object.entries({
    "--once": once,
    "--header-address": headerAddress,
    "--crash-memory": crashMemory,
  })
    .filter(([, value]) => value !== undefined)
    .map(([name]) => name);
  if (given.length > 0)
    throw new UsageError(
      `${given.join(", ")}: only for one TARGET; several, a pattern and --config make a service: leave it out`,
    );
}
