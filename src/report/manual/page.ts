/** Man pages of the command tree: one for the program, one for each command. */
import type { ArgumentShape, CommandShape, OptionShape } from "../../cli/tree.ts";
import { DESCRIPTION, type Entry, ENVIRONMENT, EXAMPLES, FILES, TARGETS } from "./prose.ts";
import { literal, notes, paragraph, quoted, tagged } from "./roff.ts";

/** What stands in the head and foot of each page. */
export interface ManualHead {
  readonly version: string;
  /** `2026-11-29`: of the sources, so that the same sources give the same pages. */
  readonly date: string;
}

const PROGRAM = "kdump-hotplug";

/** Every page by its file's name, `kdump-hotplug-lab-run.1`. */
export function manualPages(root: CommandShape, head: ManualHead): ReadonlyMap<string, string> {
  const shapes = allShapes(root);
  return new Map(shapes.map((shape) => [`${pageName(shape)}.1`, page(shape, root, shapes, head)]));
}

function allShapes(shape: CommandShape): readonly CommandShape[] {
  return [shape, ...shape.commands.flatMap(allShapes)];
}

function pageName({ path }: CommandShape): string {
  return [PROGRAM, ...path].join("-");
}

function page(
  shape: CommandShape,
  root: CommandShape,
  shapes: readonly CommandShape[],
  { version, date }: ManualHead,
): string {
  const name = pageName(shape);
  const isRoot = shape === root;
  const takesTarget = shape.arguments.some(({ name: argument }) => argument.startsWith("target"));
  const examples = EXAMPLES.get(shape.path.join(" ")) ?? [];
  const parts = [
    '.\\" Made from the command tree: change that, not this.',
    `.TH ${quoted(name.toUpperCase())} 1 ${date} ${quoted(`${PROGRAM} ${version}`)} ${quoted("User Commands")}`,
    // Lines end where they are, and words stay whole: what is typed is to be read as it is typed.
    ".nh\n.ad l",
    section("NAME", [`${name} \\-\n${paragraph(headline(shape.description))}`]),
    section("SYNOPSIS", [`\\fB${literal([PROGRAM, ...shape.path].join(" "))}\\fR ${synopsis(shape.usage)}`]),
    section("DESCRIPTION", description(shape, isRoot)),
    section(
      "COMMANDS",
      shape.commands.map((child) => tagged(bold(child.path.at(-1)!), child.description)),
    ),
    section(
      "ARGUMENTS",
      shape.arguments.map((argument) => tagged(argumentTerm(argument), argument.description)),
    ),
    section(
      "OPTIONS",
      shape.options.map((option) => tagged(optionTerm(option), option.description)),
    ),
    section("TARGETS", isRoot || takesTarget ? entries(TARGETS) : []),
    // The program's own notes are the exit codes, which are every command's.
    section("EXIT STATUS", [notes(root.notes.replace(/^Exit codes:\n/, ""))]),
    section("ENVIRONMENT", isRoot ? entries(ENVIRONMENT) : []),
    section("FILES", isRoot ? entries(FILES) : []),
    section("EXAMPLES", entries(examples)),
    section("SEE ALSO", [seeAlso(shape, root, shapes)]),
  ];
  return `${parts.filter((part) => part !== "").join("\n")}\n`;
}

function section(heading: string, paragraphs: readonly string[]): string {
  return paragraphs.length === 0 ? "" : `.SH ${heading}\n${paragraphs.join("\n")}`;
}

/** What stands behind the name: man and apropos show it, in one line. */
function headline(text: string): string {
  const line = text.split(/[:;] /)[0]!;
  return line.charAt(0).toLowerCase() + line.slice(1);
}

function description(shape: CommandShape, isRoot: boolean): readonly string[] {
  const sentence = `${shape.description.charAt(0).toUpperCase()}${shape.description.slice(1)}.`;
  const all = [sentence, ...(isRoot ? DESCRIPTION : [])].map(paragraph);
  const more = !isRoot && shape.notes !== "" ? ["", notes(shape.notes)] : [];
  return [...all, ...more.slice(1)].flatMap((text, i) => (i === 0 ? [text] : [".PP", text]));
}

function entries(list: readonly Entry[]): readonly string[] {
  return list.map(([term, meaning]) => tagged(bold(term), meaning));
}

function bold(text: string): string {
  return `\\fB${literal(text)}\\fR`;
}

/** `[options] <target>`: what is put in for something else is in italics. */
function synopsis(usage: string): string {
  return usage
    .split(" ")
    .map((word) => word.replace(/[\w|-]+(?:\.\.\.)?/, (name) => `\\fI${literal(name)}\\fR`))
    .map((word) => word.replaceAll(/[<>]/g, ""))
    .join(" ");
}

function argumentTerm({ name, variadic }: ArgumentShape): string {
  return `\\fI${literal(name)}\\fR${variadic ? " ..." : ""}`;
}

function optionTerm({ short, long, value }: OptionShape): string {
  const names = [short, long].flatMap((name) => (name === undefined ? [] : [bold(name)])).join(", ");
  return value === undefined ? names : `${names} \\fI${literal(value.replaceAll(/[<>]/g, ""))}\\fR`;
}

/** The page above, those below, and the program's; without its own. */
function seeAlso(shape: CommandShape, root: CommandShape, shapes: readonly CommandShape[]): string {
  const above = shapes.find((other) => other.commands.includes(shape));
  const pages = new Set([root, ...(above ? [above] : []), ...shape.commands]);
  pages.delete(shape);
  const names = [...pages].map((other) => `.BR ${literal(pageName(other))} (1)`);
  return [...names, ".BR kdump.conf (5)", ".BR kexec (8)", ".BR crash (8)"].join(" ,\n");
}
