/** The program's own tree of commands, to ask what it takes without doing anything. */
import type { Command } from "commander";
import { buildProgram } from "../../src/cli/program.ts";

const NOTHING = { print: () => undefined, say: () => undefined, signal: new AbortController().signal };

/** The whole tree. Its commands do nothing. */
export async function commandTree(): Promise<Command> {
  const program = await buildProgram(NOTHING, "0", () => undefined);
  for (const command of allCommands(program)) {
    command.exitOverride().configureOutput({ writeOut: () => undefined, writeErr: () => undefined });
    if (command.commands.length === 0 && command !== program) command.action(() => undefined);
  }
  return program;
}

/** `program` and every command below it, in the order of the help text. */
export function allCommands(program: Command): readonly Command[] {
  return [program, ...program.commands.flatMap(allCommands)];
}

/** `kdump-hotplug lab run`. */
export function fullName(command: Command): string {
  return command.parent ? `${fullName(command.parent)} ${command.name()}` : command.name();
}

/** @throws what the command line is refused with. */
export async function parse(args: readonly string[]): Promise<void> {
  const program = await commandTree();
  await program.parseAsync(args, { from: "user" });
}

/** What is wrong with a command line of which some may be left out; undefined where nothing is. */
export function problemOfPart(program: Command, args: readonly string[]): string | undefined {
  let command = program;
  for (const arg of args) {
    if (arg.startsWith("-")) {
      const name = arg.split("=")[0]!;
      if (![...command.options.flatMap(({ long, short }) => [long, short]), "--help", "-h"].includes(name))
        return `${fullName(command)} has no option ${name}`;
      continue;
    }
    const below = command.commands.find((each) => each.name() === arg);
    if (below) command = below;
    else if (command.commands.length > 0) return `${fullName(command)} has no command ${arg}`;
  }
  return undefined;
}
