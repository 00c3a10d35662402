/** `plug TARGET --memory SIZE | --cpus N`: hot-plug, header first. */
import { Command } from "commander";
import { Keeper } from "../../keeper/keeper.ts";
import { plugMemory, UnfinishedPlugError } from "../../keeper/plug.ts";
import { plugCpu } from "../../keeper/plug-cpu.ts";
import {
  cpuOutcomeOf,
  outcomeOf,
  pluggedJson,
  pluggedText,
  type PlugOutcome,
  plugWarningsText,
} from "../../report/plug.ts";
import { subjectText } from "../../report/subject.ts";
import { nodeSha256 } from "../../targets/sha256.ts";
import { isSimulated, TARGET_HELP } from "../../targets/target.ts";
import { type ChangeOptions, withChangedMachine } from "../changed-machine.ts";
import { type Context, printJson } from "../context.ts";
import { exitOfVerdict, parts, UsageError } from "../exit.ts";
import { journalOption } from "../journaled.ts";
import type { OpenMachine } from "../machine.ts";
import { jsonOption, parseCount, parseDimmSize, throughQemuOption } from "../options.ts";

interface PlugOptions extends ChangeOptions {
  readonly memory?: bigint;
  readonly count: number;
  readonly cpus?: number;
  readonly json?: true;
}

export function plugCommand(context: Context, exit: (code: number) => void): Command {
  return new Command("plug")
    .description(
      "add memory or CPUs so that at no instant the machine has any that the header does not describe",
    )
    .argument("<target>", TARGET_HELP)
    .option("--memory <size>", "size of a DIMM, a multiple of 128M such as 1G", parseDimmSize)
    .option("--count <n>", "how many DIMMs of that size", parseCount, 1)
    .option("--cpus <n>", "how many CPUs", parseCount)
    .addOption(throughQemuOption())
    .addOption(journalOption())
    .addOption(jsonOption())
    .action(async (target: string, options: PlugOptions) => {
      const { count, plugOne } = whatToPlug(options);
      const plugged: PlugOutcome[] = [];
      const tell = (dimm: PlugOutcome): void => {
        plugged.push(dimm);
        if (options.json) return;
        // The lines name devices only: without this nothing would say that they are not real.
        if (plugged.length === 1 && isSimulated(target)) context.print(`${subjectText(target)}\n`);
        context.print(pluggedText(dimm));
      };
      try {
        await withChangedMachine(context, target, options, async (machine, { log }) => {
          const keeper = new Keeper(machine, nodeSha256, {}, log);
          while (plugged.length < count) {
            context.signal.throwIfAborted();
            tell(await plugOne(machine, keeper));
          }
        });
      } catch (error) {
        const unfinished = parts(error).find((part) => part instanceof UnfinishedPlugError);
        if (unfinished) {
          const { id, size, described } = unfinished;
          tell({ id, size, described, after: undefined });
        }
        throw error;
      } finally {
        // Also where a later one failed, or on Ctrl-C: what is there has to be told.
        if (!options.json) context.print(plugWarningsText(plugged));
        else if (plugged.length > 0) printJson(context, pluggedJson(target, plugged));
      }
      exit(exitOfVerdict(plugged.at(-1)!.after!.verdict));
    });
}

function whatToPlug({ memory, count, cpus }: PlugOptions): {
  readonly count: number;
  readonly plugOne: (machine: OpenMachine, keeper: Keeper) => Promise<PlugOutcome>;
} {
  if (memory !== undefined && cpus === undefined)
    return {
      count,
      plugOne: async (machine, keeper) => outcomeOf(await plugMemory(machine, keeper, memory)),
    };
  if (cpus !== undefined && memory === undefined)
    return { count: cpus, plugOne: async (machine, keeper) => cpuOutcomeOf(await plugCpu(machine, keeper)) };
  throw new UsageError("Give either --memory SIZE or --cpus N: what is to be plugged");
}
