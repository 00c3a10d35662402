/** Completion for zsh: one function for each command, which calls `_arguments`. */
import type { ArgumentShape, CommandShape, OptionShape } from "../../cli/tree.ts";
import { allCommands, brief, shellQuote, valueKind, type ValueKind, WHOLE_TARGETS } from "./shape.ts";

const HEAD = `#compdef kdump-hotplug
# Made from kdump-hotplug's command tree: change that, not this.

_kdump-hotplug-targets() {
  if compset -P 'qmp:'; then
    _files
  else
    local -a whole=(WHOLE) begun=('qmp\\:' 'libvirt\\:')
    _describe -t targets target whole
    _describe -t targets 'target of the form' begun -S ''
  fi
}

_kdump-hotplug-targets-or-files() {
  local ret=1
  _kdump-hotplug-targets && ret=0
  [[ $PREFIX == *:* ]] || { _files && ret=0 }
  return ret
}
`;

const TAIL = `
# Loaded by compinit it is the function itself; sourced it has to be told of.
if [[ $funcstack[1] == _kdump-hotplug ]]; then
  _kdump-hotplug "$@"
else
  compdef _kdump-hotplug kdump-hotplug
fi
`;

const ACTIONS: Readonly<Record<ValueKind, string>> = {
  file: "_files",
  directory: "_files -/",
  target: "_kdump-hotplug-targets",
  "target-or-file": "_kdump-hotplug-targets-or-files",
  text: " ",
};

/** The script. */
export function zshCompletion(root: CommandShape): string {
  const whole = WHOLE_TARGETS.map((target) => shellQuote(target.replaceAll(":", "\\:"))).join(" ");
  return `${HEAD.replace("WHOLE", whole)}\n${allCommands(root).map(commandFunction).join("\n")}${TAIL}`;
}

function functionName({ path }: CommandShape): string {
  return ["_kdump-hotplug", ...path].join("-");
}

function commandFunction(command: CommandShape): string {
  const options = command.options.map(optionSpec);
  if (command.commands.length === 0) {
    const specs = [...options, ...command.arguments.map(argumentSpec)];
    return `${functionName(command)}() {\n  _arguments -s ${specs.map(continued).join("")}\n}\n`;
  }
  const names = command.commands.map((child) =>
    shellQuote(`${child.path.at(-1)!}:${brief(child.description).replaceAll(":", "\\:")}`),
  );
  const specs = [...options, shellQuote("1:command:->command"), shellQuote("*::argument:->argument")];
  return `${functionName(command)}() {
  local curcontext=$curcontext state line ret=1
  typeset -A opt_args
  _arguments -C ${specs.map(continued).join("")} && ret=0
  case $state in
    command)
      local -a commands=(${names.map((name) => `\n        ${name}`).join("")}
      )
      _describe -t commands command commands && ret=0
      ;;
    argument)
      case $words[1] in
${command.commands.map((child) => `        ${child.path.at(-1)!}) ${functionName(child)} && ret=0 ;;`).join("\n")}
      esac
      ;;
  esac
  return ret
}
`;
}

function continued(spec: string): string {
  return `\\\n    ${spec}`;
}

/** Brackets and colons divide a spec. */
function escapeSpec(text: string): string {
  return text.replaceAll(/[[\]:\\]/g, "\\$&");
}

function optionSpec({ short, long, value, description, choices }: OptionShape): string {
  const repeated = description.includes("may be repeated") ? "*" : "";
  const told = `[${escapeSpec(brief(description))}]`;
  const taken = value === undefined ? "" : `:${placeholder(value)}:${action(value, choices)}`;
  const names = [short, long].filter((name) => name !== undefined);
  // Each of two names excludes the other.
  const others = names.length > 1 ? `(${names.join(" ")})` : "";
  return names
    .map((name) => shellQuote(`${others}${repeated}${name}${value === undefined ? "" : "="}${told}${taken}`))
    .join(" ");
}

function argumentSpec({ name, required, variadic, choices }: ArgumentShape): string {
  return shellQuote(
    `${variadic ? "*" : ""}:${required ? "" : ":"}${placeholder(name)}:${action(name, choices)}`,
  );
}

function placeholder(name: string): string {
  return escapeSpec(name.replaceAll(/[<>]/g, ""));
}

function action(name: string, choices: readonly string[]): string {
  return choices.length > 0 ? `(${choices.map(escapeSpec).join(" ")})` : ACTIONS[valueKind(name)];
}
