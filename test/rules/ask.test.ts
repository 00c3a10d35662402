import { describe, expect, test } from "vitest";
import { NOTHING_KNOWN, type World, worldOfPrograms } from "../../src/rules/world.ts";
import { matches, outcome, properties } from "./samples.ts";

function programs(results: Readonly<Record<string, string | number>>): World {
  return worldOfPrograms(
    new Map(
      Object.entries(results).map(([command, result]) => [
        command,
        typeof result === "number" ? { exit: result, stdout: "" } : { exit: 0, stdout: result },
      ]),
    ),
  );
}

describe("PROGRAM", () => {
  test("is never run: it succeeds, or fails, as is assumed, and that is said", () => {
    const line = 'PROGRAM="/bin/x %k", ENV{a}="1"';
    const assumed = outcome(line);
    expect(assumed.actions[0]).toEqual({
      kind: "program",
      command: "/bin/x memory40",
      result: { exit: 0, stdout: "" },
      assumed: true,
      path: "t.rules",
      line: 1,
    });
    expect(assumed.assumptions.map(({ text }) => text)).toEqual([
      "/bin/x memory40 succeeds and prints nothing",
    ]);
    expect(properties(line, { unknownPrograms: "fails" })).toEqual({});
  });

  test("has the result that was given, by whole command, by path, or by name", () => {
    for (const name of ["/bin/x memory40", "/bin/x", "x"]) {
      expect(
        properties('PROGRAM="/bin/x %k", ENV{a}="%c"', { world: programs({ [name]: "out\n" }) }),
      ).toEqual({
        a: "out",
      });
    }
    expect(outcome('PROGRAM="x", ENV{a}="1"', { world: programs({ x: 3 }) }).lines[0]).toMatchObject({
      result: "not-matched",
      found: { value: "3" },
    });
  });

  test("takes every assignment for ==, and != is true when it fails", () => {
    const world = programs({ bad: 1 });
    for (const operator of ["=", "==", "+=", ":="]) {
      expect(matches(`PROGRAM${operator}"good"`, { world })).toBe(true);
      expect(matches(`PROGRAM${operator}"bad"`, { world })).toBe(false);
    }
    expect(matches('PROGRAM!="bad"', { world })).toBe(true);
    expect(matches('PROGRAM!="good"', { world })).toBe(false);
  });

  test("comes after all plain matches and before RESULT, wherever they stand", () => {
    expect(outcome('PROGRAM="x", KERNEL=="no"').actions).toEqual([]);
    expect(matches('RESULT=="b", PROGRAM="b"', { world: programs({ b: "b" }) })).toBe(true);
    expect(matches('PROGRAM="a", RESULT=="a", PROGRAM="b"', { world: programs({ a: "a", b: "b" }) })).toBe(
      false,
    );
  });

  test("leaves its result to later lines, until the next one", () => {
    const world = programs({ a: "one two  three", b: 1 });
    expect(
      properties('PROGRAM="a"\nENV{x}="%c|$result{2}|%c{2+}|%c{9}|%c{0}"\nPROGRAM="b"\nENV{y}="[%c]"', {
        world,
      }),
    ).toEqual({ x: "one two  three|two|two  three||one two  three", y: "[]" });
  });

  test("loses newlines at its end and characters that are not allowed", () => {
    expect(
      properties('PROGRAM="a", ENV{x}="%c"', { world: programs({ a: "a;b(é)\\x20\\y\tz \n\n" }) }),
    ).toEqual({
      x: "a_b_é_\\x20_y z ",
    });
  });
});

describe("IMPORT", () => {
  test("of a program takes properties from its lines", () => {
    const world = programs({ p: "# c\nA=1\n B = 'two' \nC=\"\nno\nD=\n" });
    expect(properties('IMPORT{program}="p"', { world })).toEqual({ A: "1", B: "two" });
  });

  test("of a file, the database and the command line are inputs", () => {
    const world: World = {
      ...NOTHING_KNOWN,
      readFile: (path) => (path === "/etc/memory40" ? "A=1" : null),
      database: (name) => (name === "DB" ? "2" : null),
      commandLine: (name) => ({ flag: "", key: "v" })[name] ?? null,
    };
    const text = [
      'IMPORT{file}="/etc/%k"',
      'IMPORT{file}!="/none", ENV{nofile}="1"',
      'IMPORT{db}="DB"',
      'IMPORT{db}!="NO", ENV{nodb}="1"',
      'IMPORT{cmdline}="flag"',
      'IMPORT{cmdline}="key"',
      'IMPORT{cmdline}="none", ENV{wrong}="1"',
    ].join("\n");
    const found = outcome(text, { world });
    expect(Object.fromEntries(found.changed)).toEqual({
      A: "1",
      nofile: "1",
      DB: "2",
      nodb: "1",
      flag: "1",
      key: "v",
    });
    expect(found.assumptions).toEqual([]);
  });

  test("says what it assumed where nothing is known", () => {
    const text = 'IMPORT{file}="/f"\nIMPORT{db}="D"\nIMPORT{cmdline}="c"\nIMPORT{builtin}="path_id"';
    expect(outcome(text).assumptions.map(({ text: said }) => said)).toEqual([
      "there is no file /f",
      "the database has no D",
      "the kernel command line has no c",
      "the builtin path_id finds nothing",
    ]);
  });

  test("of a parent holds where there is one", () => {
    expect(matches('IMPORT{parent}="*"')).toBe(true);
    expect(matches('IMPORT{parent}="*"', { event: "add@/devices/x" })).toBe(false);
    expect(matches('IMPORT{parent}!="*"', { event: "add@/devices/x" })).toBe(true);
  });

  test("runs path_id once per event", () => {
    let calls = 0;
    const world: World = { ...NOTHING_KNOWN, builtin: () => ({ exit: 0, stdout: `N=${++calls}` }) };
    expect(properties('IMPORT{builtin}="path_id"\nIMPORT{builtin}="path_id"', { world })).toEqual({ N: "1" });
    expect(properties('IMPORT{builtin}="hwdb"\nIMPORT{builtin}="hwdb"', { world })).toEqual({ N: "3" });
  });
});

describe("TEST", () => {
  test.each<readonly [string, boolean]>([
    ['TEST=="state"', true],
    ['TEST!="state"', false],
    ['TEST=="none"', false],
    ['TEST!="none"', true],
    ['TEST=="/sys/devices/system/memory/block_size_bytes"', true],
    ['TEST=="/sys/devices/system/memory/memory40"', true],
    ['TEST=="[memory/memory40]"', true],
    ['TEST=="[memory/memory40]state"', true],
    ['TEST=="[memory/none]state"', false],
    ['TEST{0111}=="state"', false],
    ['TEST{0444}=="state"', true],
    ['TEST=="/etc/x"', true],
    ['TEST{0111}=="/etc/x"', true],
    // Alternatives and globs mean nothing here.
    ['TEST=="state|none"', false],
  ])("%s is %s", (tokens, wanted) => {
    const world: World = { ...NOTHING_KNOWN, fileMode: (path) => (path === "/etc/x" ? 0o100755 : null) };
    expect(matches(tokens, { world })).toBe(wanted);
  });

  test("says that a file nobody knows is taken for missing", () => {
    expect(outcome('TEST=="/run/x", ENV{a}="1"').assumptions.map(({ text }) => text)).toEqual([
      "there is no file /run/x",
    ]);
  });

  test("finds no online file at CPU 0", () => {
    expect(matches('TEST=="online"', { event: "add:cpu0" })).toBe(false);
    expect(matches('TEST=="online"', { event: "add:cpu1" })).toBe(true);
  });
});
