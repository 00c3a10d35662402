/** Man pages: what is in them, and that nothing of the tree is read as a command of roff's. */
import { Command, Option } from "commander";
import { describe, expect, test } from "vitest";
import { buildProgram } from "../../../src/cli/program.ts";
import { type CommandShape, shapeOf } from "../../../src/cli/tree.ts";
import { manualPages } from "../../../src/report/manual/page.ts";
import { EXAMPLES } from "../../../src/report/manual/prose.ts";
import { notes, paragraph } from "../../../src/report/manual/roff.ts";
import { ended } from "../../cli/ended.ts";

const HEAD = { version: "1.2.3", date: "2026-11-29" };
const surroundings = { print: () => undefined, say: () => undefined, signal: new AbortController().signal };

async function wholeTree(): Promise<CommandShape> {
  return shapeOf(await buildProgram(surroundings, "1.2.3", () => undefined));
}

function everyCommand(shape: CommandShape): readonly CommandShape[] {
  return [shape, ...shape.commands.flatMap(everyCommand)];
}

describe("text for roff", () => {
  test("has short lines, one sentence at a time", () => {
    const lines = paragraph(`${"word ".repeat(30)}ends. Another begins`).split("\n");
    expect(lines.at(-1)).toBe("Another begins");
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
  });

  test("has nothing that roff takes for its own", () => {
    expect(paragraph(".so /etc/passwd")).toBe("\\&.so /etc/passwd");
    expect(paragraph("'quoted' first")).toBe("\\&'quoted' first");
    expect(paragraph("a \\fB backslash")).toBe("a \\efB backslash");
  });

  test("keeps the hyphens of what is typed, and those of words", () => {
    expect(paragraph("give --json or -V, hot-added")).toBe("give \\-\\-json or \\-V, hot-added");
  });

  test("has lists as lists", () => {
    expect(notes("Codes:\n  0    yes\n  128  lost\n")).toBe(
      "Codes:\n.TP\n\\fB0\\fR\nyes\n.TP\n\\fB128\\fR\nlost",
    );
  });
});

describe("pages", () => {
  test("are made of nothing but the tree", () => {
    const tree = new Command("kdump-hotplug").description("Does it").addCommand(
      new Command("twice")
        .description("do it twice")
        .argument("<target...>", "what to do it to")
        .addOption(new Option("-o, --order <name>", "in which order").choices(["up", "down"]).default("up"))
        .addHelpText("after", "\nMore of it."),
    );
    const pages = manualPages(shapeOf(tree), HEAD);
    expect([...pages.keys()]).toEqual(["kdump-hotplug.1", "kdump-hotplug-twice.1"]);
    const page = pages.get("kdump-hotplug-twice.1")!;
    expect(page).toContain('.TH "KDUMP-HOTPLUG-TWICE" 1 2026-11-29 "kdump-hotplug 1.2.3" "User Commands"\n');
    expect(page).toContain("\\fBkdump\\-hotplug twice\\fR [\\fIoptions\\fR] \\fItarget...\\fR\n");
    expect(page).toContain(
      '\\fB\\-o\\fR, \\fB\\-\\-order\\fR \\fIname\\fR\nin which order (choices: "up", "down", default: "up")\n',
    );
    expect(page).toContain("More of it.\n");
  });

  test("there is one for each command, with all of its options, and the exit codes", async () => {
    const tree = await wholeTree();
    const pages = manualPages(tree, HEAD);
    const commands = everyCommand(tree);
    expect(pages.size).toBe(commands.length);
    for (const { path, options, arguments: taken } of commands) {
      const page = pages.get(`${["kdump-hotplug", ...path].join("-")}.1`)!;
      for (const { long } of options) expect(page).toContain(`\\fB${long.replaceAll("-", "\\-")}\\fR`);
      for (const { name } of taken) expect(page).toContain(`\\fI${name.replaceAll("-", "\\-")}`);
      expect(page).toContain(".TP\n\\fB128\\fR\nthe guest was lost\n");
    }
  });
});

describe("examples", () => {
  const all = [...EXAMPLES].flatMap(([path, entries]) => entries.map(([line]) => [path, line] as const));

  test.each(all)("of %j: %s has a command and options that exist", async (path, line) => {
    const commands = everyCommand(await wholeTree());
    const words = line.replaceAll("'", "").split(" ").slice(1);
    const named = commands.filter((command) => command.path.every((word, i) => words[i] === word));
    const command = named.toSorted((a, b) => b.path.length - a.path.length)[0]!;
    // Those of the program's own page are of several commands.
    expect(command.path.join(" ")).toBe(path === "" ? words[0] : path);
    const known = command.options.map(({ long }) => long);
    for (const word of words.filter((each) => each.startsWith("--"))) expect(known).toContain(word);
  });

  test.each(all.filter(([, line]) => line.includes("sim:")))("of %j: %s runs", async (_path, line) => {
    const { code, stdout, stderr } = await ended(...line.split(" ").slice(1));
    expect(stderr).toBe("");
    expect(code).toBe(line.startsWith("kdump-hotplug audit") ? 1 : 0);
    expect(stdout).toContain("sim:6.1");
  });
});
