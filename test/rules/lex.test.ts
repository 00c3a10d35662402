import { describe, expect, test } from "vitest";
import { dialectOf, type SystemdVersion } from "../../src/rules/dialect.ts";
import { lexLine } from "../../src/rules/lex.ts";

function pairs(line: string, version: SystemdVersion = 257): readonly string[] {
  const { pairs: read, badAt } = lexLine(line, dialectOf(version));
  const shown = read.map(
    ({ key, attribute, operator, value, caseInsensitive }) =>
      `${key}${attribute === undefined ? "" : `<${attribute}>`} ${operator} ${caseInsensitive ? "i" : ""}[${value}]`,
  );
  return badAt === undefined ? shown : [...shown, `bad at ${badAt}`];
}

describe("lexLine", () => {
  test.each<readonly [string, readonly string[]]>([
    ['A=="x", B!="y"', ["A == [x]", "B != [y]"]],
    ['A="1",B+="2",C-="3",D:="4"', ["A = [1]", "B += [2]", "C -= [3]", "D := [4]"]],
    ['A="1"B="2"', ["A = [1]", "B = [2]"]],
    [' ,, A = "1" , , B == "2" ,', ["A = [1]", "B == [2]"]],
    ['A{b c=="}=="x"', ['A<b c=="> == [x]']],
    ['A{}=="x"', ["A<> == [x]"]],
    ['A{$env{b}}=="x"', ["bad at 0"]],
    ['A="1" # no', ["A = [1]", "bad at 6"]],
    ['A="1", B', ["A = [1]", "bad at 7"]],
    ["A=1", ["bad at 0"]],
    ['A="1', ["bad at 0"]],
    ['A{b="1"', ["bad at 0"]],
    ['="1"', [" = [1]"]],
    ["=", ["bad at 0"]],
  ])("reads %s", (line, wanted) => {
    expect(pairs(line)).toEqual(wanted);
  });

  test.each<readonly [string, readonly string[]]>([
    [String.raw`A="a\"b\n"`, [String.raw`A = [a"b\n]`]],
    // The second backslash and the quote behind it are one escape, as udev reads them.
    [String.raw`A="a\\"`, ["bad at 0"]],
    [String.raw`A="a\"`, ["bad at 0"]],
  ])("unescapes quotes only: %s", (line, wanted) => {
    expect(pairs(line)).toEqual(wanted);
  });

  test("ends a value at the first quote, up to v239", () => {
    expect(pairs(String.raw`A="a\"b", B="c"`, 239)).toEqual([String.raw`A = [a\]`, "bad at 6"]);
  });

  test("looks for the end of a key before its braces, up to v239", () => {
    expect(pairs('A{b}=="x"', 239)).toEqual(["A<b> == [x]"]);
    expect(pairs('A{b c}=="x"', 239)).toEqual(["bad at 0"]);
    expect(pairs('A{b=="x"', 239)).toEqual(["A{b == [x]"]);
  });

  test.each<readonly [string, string]>([
    [String.raw`A=e"a\tb\\\x41\u00e9\101\s\""`, 'A = [a\tb\\AéA "]'],
    [String.raw`A=e"\U0001f600"`, "A = [\u{1f600}]"],
  ])("unescapes as in C behind an e: %s", (line, wanted) => {
    expect(pairs(line)).toEqual([wanted]);
  });

  test.each([
    String.raw`A=e"\q"`,
    String.raw`A=e"\x4"`,
    String.raw`A=e"\x00"`,
    String.raw`A=e"\x"`,
    String.raw`A=e"\ud800"`,
    String.raw`A=e"\777"`,
    String.raw`A=e"\9"`,
    'A=ee"x"',
    'A==iix"x"',
    'A==xi"x"',
  ])("refuses %s", (line) => {
    expect(pairs(line)).toEqual(["bad at 0"]);
  });

  test("knows e since v247 and i since v257", () => {
    expect(pairs('A==i"x"')).toEqual(["A == i[x]"]);
    expect(pairs('A==ie"x"')).toEqual(["A == i[x]"]);
    expect(pairs('A==ei"x"')).toEqual(["A == i[x]"]);
    expect(pairs('A==i"x"', 252)).toEqual(["bad at 0"]);
    expect(pairs('A==e"x"', 247)).toEqual(["A == [x]"]);
    expect(pairs('A==e"x"', 239)).toEqual(["bad at 0"]);
  });

  test("does not take Unicode blanks for blanks", () => {
    expect(pairs('A=="x"\u00a0B=="y"')).toEqual(["A == [x]", "\u00a0B == [y]"]);
  });
});
