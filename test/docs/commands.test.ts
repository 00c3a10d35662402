/**
 * Every command line of the documents is run: here, on stand-ins, or where it needs a real kernel by the test that
 * in-guests.ts names. Here those are only held against what the program understands.
 */
import { readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { parseServiceConfig } from "../../src/keeper/service/config.ts";
import { parseScenario } from "../../src/simulation/world/scenario-file.ts";
import { type Ended, ended } from "../cli/ended.ts";
import { UnderWay } from "../cli/under-way.ts";
import { checkoutLinesForTest, checkoutLinesOf, runnerOf } from "./checkout-lines.ts";
import { argumentsOf, type CommandLine, commandLinesOf, namedCommandsOf, wordsOf } from "./command-lines.ts";
import { commandTree, parse, problemOfPart } from "./command-tree.ts";
import { codeBlocksOf, documents, ROOT } from "./documents.ts";
import { inGuests, linesForTest, programLinesOf } from "./in-guests.ts";
import { StandIns } from "./stand-ins.ts";

/** The reference has no command lines, but their forms, which come from the program. */
const all = (await documents()).filter(({ path }) => !path.startsWith("docs/reference/"));
const programs = programLinesOf(all);
const others = checkoutLinesOf(all);

/** Exit codes with which a command may end; 0 and 1 where nothing is said. */
const CODES: readonly { readonly begins: string; readonly codes: readonly number[]; readonly why: string }[] =
  [
    { begins: "audit --all --config", codes: [1], why: "a dump of the one that is listed would lack memory" },
    { begins: "audit --all", codes: [3], why: "no keeper runs here" },
    { begins: "audit --nagios", codes: [1], why: "a dump would lack memory: WARNING" },
    { begins: "journal", codes: [0, 1, 3], why: "nobody watched at the time that the document names" },
  ];

let standIns: StandIns;
beforeAll(async () => {
  standIns = await StandIns.make();
  vi.stubEnv("KDUMP_HOTPLUG_RUNTIME_DIR", join(standIns.directory, "run"));
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await standIns[Symbol.asyncDispose]();
});

/** The scenario that a document shows, for commands that name a file. */
async function scenarioOf(path: string): Promise<string | undefined> {
  const block = codeBlocksOf(all.find((each) => each.path === path)!).find((text) =>
    text.includes('"steps"'),
  );
  return block && (await standIns.scenario(block));
}

function titled(found: readonly CommandLine[]): readonly (readonly [string, string, CommandLine])[] {
  return found.map((line) => [line.text, line.path, line] as const);
}

test("the documents show commands", () => {
  expect(programs.length).toBeGreaterThan(60);
  expect(others.length).toBeGreaterThan(5);
});

describe("what is shown is run", { timeout: 120_000 }, () => {
  test.each(titled(programs.filter((line) => inGuests(argumentsOf(line)!) === undefined)))(
    "%s (%s)",
    async (_text, path, line) => {
      const given = argumentsOf(line)!;
      const args = await standIns.replace(given, await scenarioOf(path));
      const { code, stdout, stderr } = await (goesOn(args) ? interrupted(args) : ended(...args));
      expect({ isExpected: codesOf(given, args).includes(code), code, stderr }).toMatchObject({
        isExpected: true,
      });
      expect(stdout + stderr).not.toBe("");
    },
  );
});

/** Whether it ends only when it is told to. */
function goesOn(args: readonly string[]): boolean {
  const ends = ["--once", "--help", "--install", "--uninstall"];
  return args[0] === "keep" && !ends.some((each) => args.includes(each));
}

/** Runs it until it has said what it found, and ends it. */
async function interrupted(args: readonly string[]): Promise<Ended> {
  await using keep = new UnderWay(...args);
  await keep.until(/accurate/);
  return { code: await keep.interrupt(), stdout: keep.stdout, stderr: keep.stderr };
}

/** Exit codes that are right. */
function codesOf(given: readonly string[], args: readonly string[]): readonly number[] {
  if (goesOn(args)) return [130];
  const told = CODES.find(({ begins }) => given.join(" ").startsWith(begins));
  return told?.codes ?? (args.length === 0 ? [0, 2] : [0, 1]);
}

describe("what needs a real kernel is understood, and run by a test that has one", () => {
  test.each(titled(programs.filter((line) => inGuests(argumentsOf(line)!) !== undefined)))(
    "%s (%s)",
    async (_text, _path, line) => {
      const args = argumentsOf(line)!;
      await parse(args);
      const { runBy } = inGuests(args)!;
      expect(await linesForTest(join(ROOT, runBy))).toContainEqual(args);
      expect(await read(runBy)).toContain("await linesForTest(import.meta.filename)");
    },
  );
});

describe("commands that are named in a sentence exist, with their options", () => {
  test.each(all.map((document) => [document.path, document] as const))("%s", async (_path, document) => {
    const program = await commandTree();
    const problems = namedCommandsOf(document).flatMap(({ text, words }) => {
      const problem = problemOfPart(program, words.slice(1));
      return problem === undefined ? [] : [`${text}: ${problem}`];
    });
    expect(problems).toEqual([]);
  });
});

describe("commands of the checkout exist, and are run", () => {
  test.each(titled(others))("%s (%s)", async (_text, _path, line) => {
    expect(await problemOf(line)).toBeUndefined();
    expect(await isRun(line)).toBe(true);
  });

  test("make test runs the checks that it is said to", async () => {
    expect(await read("test/run.mjs")).toContain('["typecheck", "lint", "format:check"]');
  });
});

/** Whether a test, or `make test` itself, runs it. */
async function isRun(line: CommandLine): Promise<boolean> {
  const runner = runnerOf(line);
  if (runner === undefined || runner === "make test") return runner !== undefined;
  const its = await checkoutLinesForTest(join(ROOT, runner));
  const text = await read(runner);
  const isIts = its.some((words) => words.join("\0") === line.words.join("\0"));
  return isIts && text.includes("await checkoutLinesForTest(import.meta.filename)");
}

async function read(name: string): Promise<string> {
  return await readFile(join(ROOT, name), "utf8");
}

/** What is wrong with a command of make, npm or vitest; undefined where nothing is. */
async function problemOf({ words: [program, ...rest] }: CommandLine): Promise<string | undefined> {
  if (program === "make") return await problemOfMake(rest, await read("Makefile"));
  if (program === "npm") {
    const name = rest.slice(1).find((word) => !word.startsWith("-"));
    return (await read("package.json")).includes(`    "${name}": "`)
      ? undefined
      : `there is no script ${name}`;
  }
  const project = rest[rest.indexOf("--project") + 1];
  if (!(await read("vitest.config.ts")).includes(`name: "${project}"`))
    return `there is no project ${project}`;
  for (const word of rest.filter((each) => each.startsWith("test/")))
    if (!(await stat(join(ROOT, word)).catch(() => undefined))) return `there is no ${word}`;
  const [, alone = ""] = /const ALONE = \[([^\]]*)\]/.exec(await read("vitest.config.ts")) ?? [];
  for (const word of rest.filter((each) => each.startsWith("test/real/"))) {
    const its = alone.includes(`"${basename(word, ".test.ts")}"`) ? "real-alone" : "real";
    if (project !== its) return `${word} is of the project ${its}`;
  }
  return undefined;
}

async function problemOfMake(words: readonly string[], makefile: string): Promise<string | undefined> {
  for (const word of words) {
    const [name = "", value] = word.split("=");
    const isThere = value === undefined ? makefile.includes(`\n${name}:`) : makefile.includes(`$(${name})`);
    if (!isThere) return `the Makefile has no ${name}`;
    // It is handed on to `lab run`.
    if (name === "ARGS") await parse(["lab", "run", ...wordsOf(word.slice("ARGS=".length))]);
  }
  return undefined;
}

describe("files that documents show can be used", () => {
  const blocks = all.flatMap((document) =>
    codeBlocksOf(document).map((text) => [document.path, text] as const),
  );
  test.each(blocks.filter(([, text]) => /^\s*\{[^]*"targets"\s*:/.test(text)))(
    "a configuration in %s",
    (path, text) => {
      expect(parseServiceConfig(text, path, () => undefined).targets.length).toBeGreaterThan(0);
    },
  );
  test.each(blocks.filter(([, text]) => /^\s*\{[^]*"steps"\s*:/.test(text)))(
    "a scenario in %s",
    (path, text) => {
      expect(parseScenario(text, path).steps.length).toBeGreaterThan(0);
    },
  );
});

describe("what is wrong would be found", () => {
  test("a command and an option that do not exist", async () => {
    await expect(parse(["frobnicate"])).rejects.toThrow("unknown command");
    await expect(parse(["audit", "local", "--frobnicate"])).rejects.toThrow("unknown option");
    const program = await commandTree();
    expect(problemOfPart(program, ["lab", "ran"])).toBe("kdump-hotplug lab has no command ran");
    expect(problemOfPart(program, ["keep", "local", "--jsonn"])).toBe(
      "kdump-hotplug keep has no option --jsonn",
    );
  });

  test("lines are taken out of blocks as a shell would read them", () => {
    const text =
      "```sh\nmake build && kdump-hotplug audit 'qmp:/run/a b' \\\n  --json   # a comment\nls\n```\n";
    expect(commandLinesOf({ path: "x.md", text }).map(({ words }) => words)).toEqual([
      ["make", "build"],
      ["kdump-hotplug", "audit", "qmp:/run/a b", "--json"],
    ]);
  });
});
