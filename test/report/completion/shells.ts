/** Asks the real shells what they make of a line. */
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** A shell, and how it is asked. */
export interface Shell {
  readonly name: "bash" | "zsh" | "fish";
  /** What can stand in place of the last word of `line`, in `directory`. For zsh: the line as Tab makes it. */
  readonly ask: (script: string, line: string, directory: string) => Promise<readonly string[]>;
}

/** Why a shell cannot be asked; undefined where it can. */
export async function lacking({ name }: Shell): Promise<string | undefined> {
  return await run(name, ["-c", "true"]).then(
    () => undefined,
    () => `${name} is not installed`,
  );
}

async function linesOf(
  program: string,
  args: readonly string[],
  directory: string,
): Promise<readonly string[]> {
  const env = { PATH: process.env["PATH"], HOME: directory, TERM: "dumb", LC_ALL: "C.UTF-8" };
  const { stdout } = await run(program, args, { cwd: directory, env, timeout: 60_000 });
  return stdout.split("\n").filter((line) => line !== "");
}

/** Its completion function is called as Readline calls it. */
const BASH: Shell = {
  name: "bash",
  ask: async (script, line, directory) => {
    const program = `source "$1"; COMP_LINE=$2; COMP_POINT=\${#2}; COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'; _kdump_hotplug; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return await linesOf("bash", ["--norc", "-c", program, "ask", script, line], directory);
  },
};

/** A shell at a terminal of its own, in which Tab is pressed. */
const ZPTY = `
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z 'PS1=; unsetopt zle_bracketed_paste; fpath=('$1' $fpath); autoload -U compinit; compinit -u -D
show() { print -r -- "<<$BUFFER>>" }; zle -N show; bindkey "^G" show; bindkey "^I" complete-word; print READY'
while zpty -r z line; do [[ $line == READY* ]] && break; done
zpty -w -n z $2$'\\t\\a'
zpty -r -m z line '*>>*'
line=\${line##*<<}
print -r -- \${line%%>>*}
`;

const ZSH: Shell = {
  name: "zsh",
  ask: async (script, line, directory) => {
    const ask = join(directory, "ask.zsh");
    await writeFile(ask, ZPTY);
    return await linesOf("zsh", ["-f", ask, join(script, ".."), line], directory);
  },
};

const FISH: Shell = {
  name: "fish",
  ask: async (script, line, directory) => {
    const lines = await linesOf(
      "fish",
      ["--no-config", "-c", "source $argv[1]; complete -C $argv[2]", script, line],
      directory,
    );
    // Behind a tab is what is said of it.
    return lines.map((each) => each.split("\t")[0]!);
  },
};

export const SHELLS: readonly Shell[] = [BASH, ZSH, FISH];
