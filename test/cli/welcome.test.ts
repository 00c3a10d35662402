/** `kdump-hotplug` alone: what a new user sees first, and that what it tells them to try works. */
import { describe, expect, test } from "vitest";
import { buildProgram } from "../../src/cli/program.ts";
import { WELCOME } from "../../src/cli/welcome.ts";
import { ended } from "./ended.ts";

const LINES = WELCOME.split("\n");
/** Command lines that stand in it, without what explains them. */
const COMMANDS = LINES.flatMap((line) => /^ {2}kdump-hotplug (.+?)(?: {2,}.*)?$/.exec(line)?.[1] ?? []);

test("it fits a screen of 24 lines and 80 columns", () => {
  // One line is the prompt's.
  expect(LINES.length).toBeLessThanOrEqual(23);
  for (const line of LINES) expect(line).toMatch(/^.{0,80}$/);
});

test("it names commands that exist", async () => {
  const surroundings = { print: () => undefined, say: () => undefined, signal: new AbortController().signal };
  const program = await buildProgram(surroundings, "1", () => undefined);
  expect(COMMANDS).toHaveLength(9);
  for (const name of COMMANDS.map((line) => line.split(" ")[0]))
    expect(program.commands.map((command) => command.name())).toContain(name);
});

/** What it says to try first: its exit code, and a part of what comes of it. */
const FIRST = [
  // The DIMM is not described: that is the point of the example.
  ["audit sim:6.1,dimm=1G", 1, "memory missing  0x100000000-0x140000000 (1 GiB)"],
  ["simulate rfc", 0, "RFC"],
  ["audit --help", 0, "Usage: kdump-hotplug audit"],
] as const;

describe("what it says to try first", () => {
  test("is there", () => {
    expect(COMMANDS.filter((line) => !/TARGET|lab run/.test(line))).toEqual(FIRST.map(([line]) => line));
  });
  test.each(FIRST)("%s works, and says what is promised", async (line, expected, part) => {
    const { code, stdout, stderr } = await ended(...line.split(" "));
    expect(stderr).toBe("");
    expect(code).toBe(expected);
    expect(stdout).toContain(part);
  });
});
