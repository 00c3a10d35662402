/** What the three shells' scripts have in common. */
import { KERNELS } from "../../simulation/kernels.ts";
import type { CommandShape } from "../../cli/tree.ts";

/** What stands at a place on the command line. */
export type ValueKind = "file" | "directory" | "target" | "target-or-file" | "text";

/** What a placeholder or an argument's name stands for. */
export function valueKind(name: string): ValueKind {
  switch (name.replaceAll(/[<>[\].]/g, "")) {
    case "target":
      return "target";
    case "target-or-file":
      return "target-or-file";
    case "file":
    case "files":
    case "version-or-file":
      return "file";
    case "dir":
      return "directory";
    // A scenario may be a file, beside those that have names.
    case "scenario":
      return "file";
    default:
      return "text";
  }
}

/** Targets that can be said to the end; the rest begin with `qmp:` and a path, or `libvirt:` and a name. */
export const WHOLE_TARGETS: readonly string[] = ["local", ...KERNELS.map(({ name }) => `sim:${name}`)];

/** Every command, the program first. */
export function allCommands(shape: CommandShape): readonly CommandShape[] {
  return [shape, ...shape.commands.flatMap(allCommands)];
}

/** `"lab run"`; `""` for the program. */
export function keyOf({ path }: CommandShape): string {
  return path.join(" ");
}

/** In single quotes, for bash and zsh. */
export function shellQuote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** The first part of a description: a menu has one line for each. */
export function brief(text: string): string {
  const first = text.split(/[;:(]/)[0]!.trim();
  return first.length <= 70 ? first : `${first.slice(0, 69)}…`;
}

/** What a command's arguments are. Nobody tells them apart: the first decides. */
export function argumentKind({ arguments: [first] }: CommandShape): ValueKind {
  return first === undefined || first.choices.length > 0 ? "text" : valueKind(first.name);
}

/** Words that a command's next argument can be. */
export function argumentWords({ commands, arguments: [first] }: CommandShape): readonly string[] {
  return [...commands.map(({ path }) => path.at(-1)!), ...(first?.choices ?? [])];
}
