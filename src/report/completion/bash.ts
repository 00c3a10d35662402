/** Completion for bash. It needs nothing of the package bash-completion. */
import type { CommandShape } from "../../cli/tree.ts";
import {
  allCommands,
  argumentKind,
  argumentWords,
  keyOf,
  shellQuote,
  valueKind,
  WHOLE_TARGETS,
} from "./shape.ts";

/** Readline breaks words at `:` and `=`, so `qmp:/run/x` is three of them: the line is taken apart anew. */
const HEAD = `# bash completion for kdump-hotplug. Made from its command tree: change that, not this.
_kdump_hotplug_files() {
  compopt -o filenames 2>/dev/null
  local IFS=$'\\n'
  COMPREPLY+=($(compgen "$1" -- "$cur"))
}

_kdump_hotplug_targets() {
  case $cur in
    qmp:*)
      local IFS=$'\\n' path
      compopt -o nospace 2>/dev/null
      for path in $(compgen -f -- "\${cur#qmp:}"); do
        [[ -d $path ]] && path+=/
        COMPREPLY+=("qmp:$path")
      done
      ;;
    *)
      COMPREPLY+=($(compgen -W "$targets" -- "$cur"))
      [[ \${COMPREPLY[0]} == *: ]] && compopt -o nospace 2>/dev/null
      ;;
  esac
}

_kdump_hotplug() {
  local line=\${COMP_LINE:0:COMP_POINT} words cur word option= at= skip= values= kind= prefix= i
  local targets='TARGETS'
  COMPREPLY=()
  read -ra words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=("")
  cur=\${words[-1]}
  for ((i = 1; i < \${#words[@]} - 1; i++)); do
    word=\${words[i]}
    if [[ -n $skip ]]; then
      skip=
      continue
    fi
    case "$at/$word" in
`;

const TAIL = `  esac
  if [[ $cur == -* && -z $option ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$cur"))
    return
  fi
  [[ -n $values ]] && COMPREPLY=($(compgen -W "$values" -- "$cur"))
  case $kind in
    file) _kdump_hotplug_files -f ;;
    directory) _kdump_hotplug_files -d ;;
    target) _kdump_hotplug_targets ;;
    target-or-file)
      _kdump_hotplug_targets
      [[ $cur == *:* ]] || _kdump_hotplug_files -f
      ;;
  esac
  # What stands before the last : or = is on the line already.
  prefix=\${cur%"\${cur##*[:=]}"}
  [[ -n $prefix && $COMP_WORDBREAKS == *:* ]] && COMPREPLY=("\${COMPREPLY[@]#"$prefix"}")
}

complete -F _kdump_hotplug kdump-hotplug
`;

/** The script. */
export function bashCompletion(root: CommandShape): string {
  const commands = allCommands(root);
  const moves = commands
    .filter(({ path }) => path.length > 0)
    .map(
      ({ path }) =>
        `      ${shellQuote(`${path.slice(0, -1).join(" ")}/${path.at(-1)!}`)}) at=${shellQuote(path.join(" "))} ;;\n`,
    );
  const skips = commands.flatMap((command) =>
    command.options
      .filter(({ value }) => value !== undefined)
      .map(({ long }) => `      ${shellQuote(`${keyOf(command)}/${long}`)}) skip=1 ;;\n`),
  );
  const head = HEAD.replace("TARGETS", ["qmp:", "libvirt:", ...WHOLE_TARGETS].join(" "));
  return `${head}${moves.join("")}${skips.join("")}    esac
  done
  # --option=value is --option and a value.
  if [[ $cur == --*=* ]]; then
    option=\${cur%%=*}
    cur=\${cur#*=}
  elif [[ -n $skip ]]; then
    option=\${words[-2]}
  fi
  local options=
  case "$at" in
${commands.map(optionsCase).join("")}  esac
  case "$at/$option" in
${commands.flatMap(valueCases).join("")}${TAIL}`;
}

function optionsCase(command: CommandShape): string {
  const options = command.options.map(({ long }) => long).join(" ");
  return `    ${shellQuote(keyOf(command))}) options=${shellQuote(options)} ;;\n`;
}

/** What may stand as a value of each option, and where no option stands before. */
function valueCases(command: CommandShape): readonly string[] {
  const cases = command.options
    .filter(({ value }) => value !== undefined)
    .map(({ long, value, choices }) => oneCase(command, long, choices, `kind=${valueKind(value!)}`));
  const kind = argumentKind(command);
  return [...cases, oneCase(command, "", argumentWords(command), kind === "text" ? "" : `kind=${kind}`)];
}

function oneCase(command: CommandShape, option: string, choices: readonly string[], kind: string): string {
  const values = choices.length > 0 ? `values=${shellQuote(choices.join(" "))}` : "";
  return `    ${shellQuote(`${keyOf(command)}/${option}`)}) ${[values, kind].join(" ").trim() || ":"} ;;\n`;
}
