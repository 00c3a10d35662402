/** Completion for fish. */
import type { CommandShape, OptionShape } from "../../cli/tree.ts";
import {
  allCommands,
  argumentKind,
  argumentWords,
  brief,
  keyOf,
  valueKind,
  type ValueKind,
  WHOLE_TARGETS,
} from "./shape.ts";

const HEAD = `# fish completion for kdump-hotplug. Made from its command tree: change that, not this.
function __kdump_hotplug_targets
  set -l word (commandline -ct)
  if string match -q 'qmp:*' -- $word
    for path in (__fish_complete_path (string sub -s 5 -- $word))
      echo qmp:$path
    end
  else
    printf '%s\\n' TARGETS
  end
end

# Which command the words before the cursor have come to.
function __kdump_hotplug_at
  set -l words (commandline -opc)
  set -e words[1]
  set -l at ''
  for word in $words
    switch "$at/$word"
MOVES
    end
  end
  test "$at" = "$argv[1]"
end

complete -c kdump-hotplug -f
`;

/** The script. */
export function fishCompletion(root: CommandShape): string {
  const moves = allCommands(root)
    .filter(({ path }) => path.length > 0)
    .map(
      ({ path }) =>
        `      case '${path.slice(0, -1).join(" ")}/${path.at(-1)!}'\n        set at '${path.join(" ")}'`,
    )
    .join("\n");
  const targets = ["qmp:", "libvirt:", ...WHOLE_TARGETS].join(" ");
  return `${HEAD.replace("TARGETS", targets).replace("MOVES", moves)}${allCommands(root).flatMap(lines).join("\n")}\n`;
}

/** How fish is told of what stands at a place. */
const KINDS: Readonly<Record<ValueKind, string>> = {
  file: " -F",
  directory: " -a '(__fish_complete_directories)'",
  target: " -a '(__kdump_hotplug_targets)'",
  "target-or-file": " -F -a '(__kdump_hotplug_targets)'",
  text: "",
};

function lines(command: CommandShape): readonly string[] {
  const start = `complete -c kdump-hotplug -n '__kdump_hotplug_at "${keyOf(command)}"'`;
  const children = command.commands.map(
    (child) => `${start} -a ${child.path.at(-1)!} -d ${fishQuote(brief(child.description))}`,
  );
  const words = argumentWords({ ...command, commands: [] });
  const kind = KINDS[argumentKind(command)];
  const values = [...(words.length > 0 ? [` -a '${words.join(" ")}'`] : []), ...(kind === "" ? [] : [kind])];
  return [
    ...children,
    ...values.map((value) => `${start}${value}`),
    ...command.options.map((option) => optionLine(start, option)),
  ];
}

function optionLine(start: string, { short, long, value, description, choices }: OptionShape): string {
  const names = `${short === undefined ? "" : ` -s ${short.slice(1)}`} -l ${long.slice(2)}`;
  const kind =
    value === undefined
      ? ""
      : ` -r${choices.length > 0 ? ` -a '${choices.join(" ")}'` : KINDS[valueKind(value)]}`;
  return `${start}${names}${kind} -d ${fishQuote(brief(description))}`;
}

function fishQuote(text: string): string {
  return `'${text.replaceAll(/['\\]/g, "\\$&")}'`;
}
