/** Runs one command line: output, errors as one sentence, the exit code. */
import { CommanderError, type Command } from "commander";
import { printable } from "../report/text.ts";
import type { Context } from "./context.ts";
import { isLoss } from "../keeper/machine.ts";
import { EXIT, exitOfError, isLeftHalfDone, mainError, parts } from "./exit.ts";
import { buildProgram } from "./program.ts";

/** @returns the exit code; never throws. */
export async function run(args: readonly string[], context: Context, version: string): Promise<number> {
  let code: number = EXIT.yes;
  const program = buildProgram(context, version, (wanted) => (code = wanted));
  configure(program, context);
  try {
    await program.parseAsync(args, { from: "user" });
    return code;
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? EXIT.yes : EXIT.usage;
    const error = mainError(thrown);
    // What an interrupted command ends with is of our own making, but not what it left half done.
    if (context.signal.aborted && !isLeftHalfDone(error)) {
      context.say("Interrupted; nothing was left half done");
      return EXIT.interrupted;
    }
    const lost = parts(thrown).find((part) => part !== error && isLoss(part));
    const text = [error, ...(lost === undefined ? [] : [lost])]
      .map((part) => (part instanceof Error ? part.message : String(part)))
      .join("; and the guest was lost: ");
    context.say(text.split("\n").map(printable).join("\n"));
    const wanted = lost === undefined ? exitOfError(error) : EXIT.lost;
    // On Ctrl-C it was we who closed the connection.
    return context.signal.aborted && wanted === EXIT.lost ? EXIT.interrupted : wanted;
  }
}

/** Commander's own output goes where ours goes, and it throws instead of ending the process. */
function configure(command: Command, context: Context): void {
  command.exitOverride();
  command.configureOutput({ writeOut: context.print, writeErr: (text) => context.say(text.trimEnd()) });
  for (const child of command.commands) configure(child, context);
}
