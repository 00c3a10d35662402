/** The command tree. Help, man pages and completion come from it. */
import { Command } from "commander";
import type { Context } from "./context.ts";

const EXIT_CODES = `
Exit codes:
  0    yes, or done
  1    no: inaccurate, or a check failed
  2    usage, or bad input
  3    cannot tell: no privilege, nothing loaded to look at, not supported there
  128  the guest was lost
  130  interrupted
`;

type MakeCommand = (context: Context, exit: (code: number) => void) => Command;

/** In the order of the help text. Each is loaded when it is wanted: all of them are some 290 files. */
const COMMANDS: ReadonlyMap<string, () => Promise<MakeCommand>> = new Map<string, () => Promise<MakeCommand>>(
  [
    ["inspect", async () => (await import("./commands/inspect.ts")).inspectCommand],
    ["audit", async () => (await import("./commands/audit.ts")).auditCommand],
    ["keep", async () => (await import("./commands/keep.ts")).keepCommand],
    ["journal", async () => (await import("./commands/journal.ts")).journalCommand],
    ["load", async () => (await import("./commands/load.ts")).loadCommand],
    ["plug", async () => (await import("./commands/plug.ts")).plugCommand],
    ["unplug", async () => (await import("./commands/unplug.ts")).unplugCommand],
    ["lab", async () => (await import("./commands/lab.ts")).labCommand],
    ["simulate", async () => (await import("./commands/simulate.ts")).simulateCommand],
    ["rules", async () => (await import("./commands/rules.ts")).rulesCommand],
    ["completion", async () => (await import("./commands/completion.ts")).completionCommand],
  ],
);

/**
 * Builds the tree.
 *
 * @param exit told the code that the command wants to end with.
 * @param first the first argument: where it is a command's name, the tree has only that one.
 */
export async function buildProgram(
  context: Context,
  version: string,
  exit: (code: number) => void,
  first?: string,
): Promise<Command> {
  const program = new Command("kdump-hotplug")
    .description("Keeps kernel crash dumps complete while memory comes and goes")
    .version(version)
    .addHelpText("after", EXIT_CODES);
  const only = first === undefined ? undefined : COMMANDS.get(first);
  for (const load of only ? [only] : COMMANDS.values()) program.addCommand((await load())(context, exit));
  return program;
}
