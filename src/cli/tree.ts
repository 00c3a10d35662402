/** The command tree as plain data, for what is made from it: man pages and completion. */
import { type Argument, type Command, Help, type Option } from "commander";
import { choicesOf } from "./options.ts";

/** An argument of a command. */
export interface ArgumentShape {
  /** `target-or-file`. */
  readonly name: string;
  readonly required: boolean;
  readonly variadic: boolean;
  readonly description: string;
  /** Everything that it can be, where that is a list. */
  readonly choices: readonly string[];
}

/** An option of a command. */
export interface OptionShape {
  /** `-V`. */
  readonly short: string | undefined;
  /** `--json`. */
  readonly long: string;
  /** `<file>`; undefined where it takes no value. */
  readonly value: string | undefined;
  /** As help has it, with choices and default. */
  readonly description: string;
  readonly choices: readonly string[];
}

/** A command with everything below it. */
export interface CommandShape {
  /** `["lab", "run"]`; the program itself has none. */
  readonly path: readonly string[];
  readonly description: string;
  /** `[options] <target>`, as help has it. */
  readonly usage: string;
  readonly arguments: readonly ArgumentShape[];
  readonly options: readonly OptionShape[];
  /** What help says after the rest; "" for most. */
  readonly notes: string;
  readonly commands: readonly CommandShape[];
}

/** @param path of `command`, from the program on. */
export function shapeOf(command: Command, path: readonly string[] = []): CommandShape {
  const help = new Help();
  return {
    path,
    description: command.description(),
    usage: command.usage(),
    arguments: command.registeredArguments.map((argument) => argumentShape(help, argument)),
    options: help.visibleOptions(command).map((option) => optionShape(help, option)),
    notes: notesOf(command),
    // Commander's own command "help" is in the text of help alone: it takes any command's name.
    commands: command.commands.map((child) => shapeOf(child, [...path, child.name()])),
  };
}

function argumentShape(help: Help, argument: Argument): ArgumentShape {
  return {
    name: argument.name(),
    required: argument.required,
    variadic: argument.variadic,
    description: help.argumentDescription(argument),
    choices: argument.argChoices ?? [],
  };
}

function optionShape(help: Help, option: Option): OptionShape {
  return {
    short: option.short,
    long: option.long ?? option.flags,
    value: /[<[].*$/.exec(option.flags)?.[0],
    description: help.optionDescription(option),
    choices: option.argChoices ?? choicesOf(option.parseArg) ?? [],
  };
}

/** Commander has no question for it: it is what is printed behind the help itself. */
function notesOf(command: Command): string {
  let printed = "";
  const before = command.configureOutput();
  command.configureOutput({ writeOut: (text) => void (printed += text) });
  command.outputHelp();
  command.configureOutput(before);
  return printed.slice(command.helpInformation().length).trim();
}
