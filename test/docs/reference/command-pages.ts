/** docs/reference/commands.md, from the program's own tree of commands. */
import type { Argument, Command, Option } from "commander";
import { allCommands, commandTree, fullName } from "../command-tree.ts";

/** The page, as Markdown. */
export async function commandsPage(): Promise<string> {
  const program = await commandTree();
  return [
    `# Commands and options

What \`kdump-hotplug COMMAND --help\` says, on one page. It is made from the program's own tree of commands by \`npm run docs:reference\`; a test fails where the two differ.
Exit codes are the same for every command: [exit-codes.md](exit-codes.md). What \`--json\` prints is in [json.md](json.md).
`,
    ...allCommands(program)
      .filter((command) => command !== program)
      .map(section),
  ].join("\n");
}

function section(command: Command): string {
  const parts = [
    `${command.parent?.parent ? "###" : "##"} ${fullName(command).replace("kdump-hotplug ", "")}\n`,
    `\`\`\`text\n${fullName(command)} ${command.usage()}\n\`\`\`\n`,
    `${sentence(command.description())}.\n`,
  ];
  if (command.registeredArguments.length > 0)
    parts.push(table("argument", command.registeredArguments.map(argumentRow)));
  const options = command.options.filter(({ hidden }) => !hidden);
  if (options.length > 0) parts.push(table("option", options.map(optionRow)));
  const after = helpAfter(command);
  if (after !== "") parts.push(`\`\`\`text\n${after}\n\`\`\`\n`);
  return parts.join("\n");
}

/** What `addHelpText` puts behind the rest. */
export function helpAfter(command: Command): string {
  let whole = "";
  command.configureOutput({ writeOut: (text) => void (whole += text) });
  command.outputHelp();
  return whole.slice(command.helpInformation().length).trim();
}

function table(head: string, rows: readonly string[]): string {
  return `| ${head} | what | default |\n| --- | --- | --- |\n${rows.join("")}`;
}

function argumentRow(argument: Argument): string {
  const name = `${argument.name()}${argument.variadic ? "..." : ""}`;
  return row(argument.required ? name : `[${name}]`, argument.description, defaultOf(argument));
}

function optionRow(option: Option): string {
  const { argChoices, mandatory } = option;
  const choices = argChoices ? `: ${argChoices.join(", ")}` : "";
  return row(
    option.flags,
    `${option.description}${choices}${mandatory ? " (has to be given)" : ""}`,
    option.negate ? "" : defaultOf(option),
  );
}

function row(name: string, what: string, byDefault: string): string {
  return `| \`${cell(name)}\` | ${cell(escaped(what))} | ${byDefault === "" ? "" : `\`${cell(byDefault)}\``} |\n`;
}

function defaultOf({ defaultValue, defaultValueDescription }: Argument | Option): string {
  if (defaultValueDescription !== undefined) return defaultValueDescription;
  if (typeof defaultValue === "string" || typeof defaultValue === "number") return String(defaultValue);
  return "";
}

/** Within a table, and with what would be a tag or emphasis as it is. */
function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("\n", " ");
}

function sentence(text: string): string {
  return escaped(text.charAt(0).toUpperCase() + text.slice(1));
}

function escaped(text: string): string {
  return text.replaceAll("*", "\\*").replaceAll("<", "&lt;").replaceAll("_", "\\_");
}
