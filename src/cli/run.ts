/** Runs one command line: output, errors as one sentence, the exit code. */
import { CommanderError, type Command } from "commander";
import { printable } from "../report/text.ts";
import { CarriedOut, type Context } from "./context.ts";
import type { EXIT } from "./exit.ts";
import { buildProgram } from "./program.ts";
import { WELCOME } from "./welcome.ts";

/** `EXIT.usage`, without the rest of that file. */
const USAGE: typeof EXIT.usage = 2;

/**
 * @param version of the program.
 * @param versionLine what `--version` prints; the version alone unless given.
 * @returns the exit code; never throws.
 */
export async function run(
  args: readonly string[],
  surroundings: Context,
  version: string,
  versionLine: string = version,
): Promise<number> {
  const [first] = args;
  // For these two, which are the first that anybody runs, nothing of the program has to be loaded.
  if (first === "--version" || first === "-V") {
    surroundings.print(`${versionLine}\n`);
    return 0;
  }
  if (first === undefined) {
    surroundings.say(WELCOME);
    return USAGE;
  }
  let code = 0;
  const context: Context = {
    ...surroundings,
    args,
    version,
    run: async (others, theirs) => await run(others, theirs, version, versionLine),
  };
  const program = await buildProgram(context, versionLine, (wanted) => (code = wanted), first);
  configure(program, context, program.name());
  try {
    await program.parseAsync(args, { from: "user" });
    return code;
  } catch (thrown) {
    if (thrown instanceof CarriedOut) return thrown.code;
    // It knows every kind of error, and so most of the program: what ends well does not load it for nothing.
    const { ending, EXIT: CODES } = await import("./exit.ts");
    if (thrown instanceof CommanderError) {
      if (thrown.exitCode === 0) return CODES.yes;
      // To a monitoring system 2 is an alarm.
      return args.includes("--nagios") ? CODES.unknown : CODES.usage;
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
