/** `unplug TARGET DEVICE...`: the machine gives up memory or CPUs, then the header is corrected. */
import { Command } from "commander";
import { Keeper } from "../../keeper/keeper.ts";
import type { RemovableDevice } from "../../keeper/machine.ts";
import { devicesNamed, UnfinishedRemovalError, unplugMemory } from "../../keeper/unplug.ts";
import { unplugCpu } from "../../keeper/unplug-cpu.ts";
import { subjectText } from "../../report/subject.ts";
import {
  unfinishedOutcome,
  unpluggedJson,
  unpluggedText,
  type UnplugOutcome,
  unplugOutcome,
} from "../../report/unplug.ts";
import { nodeSha256 } from "../../targets/sha256.ts";
import { isSimulated, TARGET_HELP } from "../../targets/target.ts";
import { type ChangeOptions, withChangedMachine } from "../changed-machine.ts";
import { type Context, printJson } from "../context.ts";
import { EXIT, exitOfVerdict, parts } from "../exit.ts";
import { journalOption } from "../journaled.ts";
import type { OpenMachine } from "../machine.ts";
import { jsonOption, parseSeconds, throughQemuOption } from "../options.ts";

interface UnplugOptions extends ChangeOptions {
  /** Milliseconds. */
  readonly wait: number;
  readonly json?: true;
}

export function unplugCommand(context: Context, exit: (code: number) => void): Command {
  return new Command("unplug")
    .description("remove memory or CPUs, and correct the header as soon as the guest has let go of it")
    .argument("<target>", TARGET_HELP)
    .argument("<device...>", "DIMMs and CPUs, by the names that plug and audit print")
    .option("--wait <seconds>", "how long a guest may take to give up one of them", parseSeconds, 60_000)
    .addOption(throughQemuOption())
    .addOption(journalOption())
    .addOption(jsonOption())
    .action(async (target: string, names: readonly string[], options: UnplugOptions) => {
      const outcomes: UnplugOutcome[] = [];
      const tell = (outcome: UnplugOutcome): void => {
        outcomes.push(outcome);
        if (options.json) return;
        // The lines name devices only: without this nothing would say that they are not real.
        if (outcomes.length === 1 && isSimulated(target)) context.print(`${subjectText(target)}\n`);
        context.print(unpluggedText(outcome));
      };
      try {
        await withChangedMachine(context, target, options, async (machine, { log }) => {
          const keeper = new Keeper(machine, nodeSha256, {}, log);
          for (const device of await devicesNamed(machine, names)) {
            context.signal.throwIfAborted();
            tell(await unplugOne(machine, keeper, device, options.wait));
          }
        });
      } catch (error) {
        const unfinished = parts(error).find((part) => part instanceof UnfinishedRemovalError);
        if (unfinished) tell(unfinishedOutcome(unfinished));
        throw error;
      } finally {
        // Also where a later one failed, or on Ctrl-C: what was done has to be told.
        if (options.json && outcomes.length > 0) printJson(context, unpluggedJson(target, outcomes));
      }
      exit(exitOf(outcomes));
    });
}

async function unplugOne(
  machine: OpenMachine,
  keeper: Keeper,
  device: RemovableDevice,
  waitMs: number,
): Promise<UnplugOutcome> {
  return unplugOutcome(
    device.kind === "cpu"
      ? await unplugCpu(machine, keeper, device, waitMs)
      : await unplugMemory(machine, keeper, device, waitMs),
  );
}

/** What stays is a no, what may still go cannot be told; else the header decides. */
function exitOf(outcomes: readonly UnplugOutcome[]): number {
  if (outcomes.some(({ outcome }) => outcome === "refused")) return EXIT.no;
  if (outcomes.some(({ outcome }) => outcome === "pending")) return EXIT.unknown;
  return exitOfVerdict(outcomes.at(-1)!.after!.verdict);
}
