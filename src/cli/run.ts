/** Runs one command line: output, errors as one sentence, the exit code. */
import { CommanderError, type Command } from "commander";
import { printable } from "../report/text.ts";
import { CarriedOut, type Context } from "./context.ts";
import { ending, EXIT } from "./exit.ts";
import { buildProgram } from "./program.ts";

/** @returns the exit code; never throws. */
export async function run(args: readonly string[], surroundings: Context, version: string): Promise<number> {
  let code: number = EXIT.yes;
  const context: Context = {
    ...surroundings,
    args,
    version,
    run: async (others, theirs) => await run(others, theirs, version),
  };
  const program = await buildProgram(context, version, (wanted) => (code = wanted), args[0]);
  configure(program, context, program.name());
  try {
    await program.parseAsync(args, { from: "user" });
    return code;
  } catch (thrown) {
    if (thrown instanceof CarriedOut) return thrown.code;
    if (thrown instanceof CommanderError) {
      if (thrown.exitCode === 0) return EXIT.yes;
      // To a monitoring system 2 is an alarm.
      return args.includes("--nagios") ? EXIT.unknown : EXIT.usage;
    }
    const { text, code: ended } = ending(thrown, context.signal.aborted);
    context.say(text.split("\n").map(printable).join("\n"));
    return ended;
  }
}

/** Commander's own output goes where ours goes, and it throws instead of ending the process. */
function configure(command: Command, context: Context, name: string): void {
  command.exitOverride().showHelpAfterError(`See ${name} --help`);
  command.configureOutput({ writeOut: context.print, writeErr: (text) => context.say(text.trimEnd()) });
  for (const child of command.commands) configure(child, context, `${name} ${child.name()}`);
}
