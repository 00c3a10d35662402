/** `completion SHELL`: the script that completes command lines, on standard output. */
import { Argument, Command } from "commander";
import { bashCompletion } from "../../report/completion/bash.ts";
import { fishCompletion } from "../../report/completion/fish.ts";
import { zshCompletion } from "../../report/completion/zsh.ts";
import type { Context } from "../context.ts";
import { EXIT } from "../exit.ts";
import { type CommandShape, shapeOf } from "../tree.ts";

const SCRIPTS = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion } as const satisfies Record<
  string,
  (root: CommandShape) => string
>;

const WHERE = `
Packages bring it with them. Else, for this user:
  bash  kdump-hotplug completion bash > ~/.local/share/bash-completion/completions/kdump-hotplug
  zsh   kdump-hotplug completion zsh > DIRECTORY/_kdump-hotplug, a directory of $fpath
  fish  kdump-hotplug completion fish > ~/.config/fish/completions/kdump-hotplug.fish
`;

export function completionCommand(context: Context, exit: (code: number) => void): Command {
  return new Command("completion")
    .description("print the script that completes kdump-hotplug's command lines in a shell")
    .addArgument(new Argument("<shell>", "whose").choices(Object.keys(SCRIPTS)))
    .addHelpText("after", WHERE)
    .action(async (shell: keyof typeof SCRIPTS) => {
      // This command stands in a tree of its own: all of them are wanted here.
      const { buildProgram } = await import("../program.ts");
      context.print(SCRIPTS[shell](shapeOf(await buildProgram(context, context.version ?? "", exit))));
      exit(EXIT.yes);
    });
}
