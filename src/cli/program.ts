/** The command tree. Help, and later the man page and completion, come from it. */
import { Command } from "commander";
import { auditCommand } from "./commands/audit.ts";
import { inspectCommand } from "./commands/inspect.ts";
import { keepCommand } from "./commands/keep.ts";
import { labCommand } from "./commands/lab.ts";
import { plugCommand } from "./commands/plug.ts";
import { rulesCommand } from "./commands/rules.ts";
import { simulateCommand } from "./commands/simulate.ts";
import { unplugCommand } from "./commands/unplug.ts";
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

/** Builds the tree. `exit` is told the code that the command wants to end with. */
export function buildProgram(context: Context, version: string, exit: (code: number) => void): Command {
  const program = new Command("kdump-hotplug")
    .description("Keeps kernel crash dumps complete while memory comes and goes")
    .version(version)
    .addHelpText("after", EXIT_CODES);
  for (const command of [
    inspectCommand,
    auditCommand,
    keepCommand,
    plugCommand,
    unplugCommand,
    labCommand,
    simulateCommand,
    rulesCommand,
  ]) {
    program.addCommand(command(context, exit));
  }
  return program;
}
