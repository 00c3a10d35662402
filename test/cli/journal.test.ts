/** `journal`: prints what was done, and answers what was true. */
import { appendFile, readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseTime } from "../../src/cli/options.ts";
import { Place } from "../keeper/journal/samples.ts";
import { ended } from "./ended.ts";

const TARGET = "sim:6.1,ram=256M,crash=16M,dimm=128M";
let place: Place;
beforeAll(async () => {
  place = await Place.make();
  const { code, stderr } = await ended("keep", "--once", "--journal", place.directory, TARGET);
  if (code !== 0) throw new Error(stderr);
  await appendFile(place.file(), "this is no entry\n");
});
afterAll(async () => {
  await place[Symbol.asyncDispose]();
});

const journal = async (...args: readonly string[]): ReturnType<typeof ended> =>
  await ended("journal", "--directory", place.directory, ...args);

test("it prints one line for each thing that happened, and names lines that are no entries", async () => {
  const { code, stdout, stderr } = await journal();
  expect(code).toBe(0);
  const lines = stdout.trimEnd().split("\n");
  expect(lines).toHaveLength(4);
  expect(lines[0]).toMatch(/^\S+Z journal: process \d+ began to write$/);
  expect(lines[1]).toMatch(
    /\(simulated\): installed: 0x100000000-0x108000000 was missing; header [0-9a-f]{12} at 0x\S+ became [0-9a-f]{12} at 0x\S+; \d+ bytes written; no pause was measured$/,
  );
  expect(lines[2]).toMatch(
    /accurate \(The loaded capture kernel would be told the truth.*header [0-9a-f]{12} at 0x/,
  );
  expect(lines[3]).toMatch(/the keeper ended$/);
  expect(stderr).toMatch(/journal\.jsonl:6: no entry: it is not JSON: cut off, or overwritten\n$/);
});

test("--json gives every entry, intents too", async () => {
  const { stdout } = await journal("--json", "--target", TARGET);
  const entries = stdout
    .trimEnd()
    .split("\n")
    .map((line): { entry: string; schemaVersion: number } => JSON.parse(line));
  expect(entries.map(({ entry }) => entry)).toEqual(["started", "intent", "installed", "verdict", "stopped"]);
  expect(entries.every(({ schemaVersion }) => schemaVersion === 1)).toBe(true);
});

test("--at answers with 0, 1 or 3", async () => {
  const text = await readFile(place.file(), "utf8");
  const at = (name: string): string =>
    text
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line): { entry: string; at: string } => JSON.parse(line))
      .find(({ entry }) => entry === name)!.at;
  expect(await journal("--at", at("verdict"), "--target", TARGET)).toMatchObject({
    code: 0,
    stdout: expect.stringContaining(`(simulated) at ${at("verdict")}: accurate (`),
  });
  expect(await journal("--at", at("intent"))).toMatchObject({
    code: 1,
    stdout: expect.stringContaining(
      "inaccurate (the header lacked 0x100000000-0x108000000, until the install at",
    ),
  });
  expect(await journal("--at", "2001-01-01", "--target", TARGET)).toMatchObject({
    code: 3,
    stdout: expect.stringContaining("unknown (the journal begins at"),
  });
  expect(await journal("--at", at("verdict"), "--target", "qmp:/run/none")).toMatchObject({
    code: 3,
    stdout: expect.stringContaining("no entry of this target"),
  });
  const { stdout } = await journal("--at", at("verdict"), "--json");
  expect(JSON.parse(stdout)).toMatchObject({
    schemaVersion: 1,
    unreadableLines: 1,
    targets: [{ target: TARGET, simulated: true, answer: "accurate", moments: 1 }],
  });
});

describe("what cannot be answered is said", () => {
  test.each([
    [
      ["--directory", "/nowhere/at/all"],
      2,
      /^Cannot read the journal's directory "\/nowhere\/at\/all": there is no such directory \(ENOENT\); keep writes a journal where it is started with --journal DIR: give that one with --directory\n$/,
    ],
    [["--at", "yesterday"], 2, /expected a time such as/],
    [["--at", "2026-01-01", "--since", "2026-01-01"], 2, /Give either --at or --since/],
  ] as const)("%j", async (args, code, words) => {
    const result = await ended("journal", ...args);
    expect(result.code).toBe(code);
    expect(result.stderr).toMatch(words);
  });
});

test("times", () => {
  expect(parseTime("2026-11-29T05:10:00Z")).toBe(Date.UTC(2026, 10, 29, 5, 10));
  expect(parseTime("2026-11-29 05:10+02:00")).toBe(Date.UTC(2026, 10, 29, 3, 10));
  expect(parseTime("2026-11-29T05:10:00.250Z")).toBe(Date.UTC(2026, 10, 29, 5, 10, 0, 250));
  expect(parseTime("@1764393000.5")).toBe(1764393000500);
  expect(parseTime("2026-11-29")).toBe(new Date(2026, 10, 29).getTime());
  for (const text of ["", "now", "5", "2026-13-01", "2026-11-29T25:00Z", "2026-11-29T05:10:00Zx"])
    expect(() => parseTime(text)).toThrow("expected a time");
});

test("what plug and unplug install is put down too", async () => {
  await using other = await Place.make();
  const kinds = async (...args: readonly string[]): Promise<readonly string[]> => {
    const { code, stderr } = await ended(...args, "--journal", other.directory);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const entries = (await other.entries()).map(({ entry }) => entry);
    return entries.slice(entries.lastIndexOf("started") + 1);
  };
  const written = ["intent", "planned", "installed", "stopped"];
  const plugged = await kinds("plug", "sim:6.1,ram=256M,crash=16M", "--memory", "128M");
  // Before that it made room for what is to come.
  expect(plugged.filter((entry) => written.includes(entry)).slice(-written.length)).toEqual(written);
  const unplugged = await kinds("unplug", "sim:6.1,ram=256M,crash=16M,dimm=128M,reload", "dimm0");
  // Notes for all CPUs, as at every first time; then what is gone.
  expect(unplugged.filter((entry) => entry === "installed")).toHaveLength(2);
});
