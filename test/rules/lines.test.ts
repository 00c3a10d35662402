import { describe, expect, test } from "vitest";
import { dialectOf, type SystemdVersion } from "../../src/rules/dialect.ts";
import { splitLines } from "../../src/rules/lines.ts";

function lines(text: string, version: SystemdVersion = 257): readonly (readonly [number, string])[] {
  return splitLines("f", text, dialectOf(version)).lines.map(({ number, text: line }) => [number, line]);
}

function remarks(text: string, version: SystemdVersion = 257): readonly string[] {
  return splitLines("f", text, dialectOf(version)).diagnostics.map(
    ({ line, message }) => `${line} ${message}`,
  );
}

describe("splitLines", () => {
  test("leaves out comments and empty lines, and counts them", () => {
    expect(lines("# a\n\n  A\n\t# b\nB")).toEqual([
      [3, "A"],
      [5, "B"],
    ]);
  });

  test("joins a continuation and gives it the number of its last line", () => {
    expect(lines("A, \\\n   B, \\\n\tC\nD")).toEqual([
      [3, "A, B, C"],
      [4, "D"],
    ]);
  });

  test("takes two backslashes for one and a continuation, as udev does", () => {
    expect(lines("A\\\\\nB")).toEqual([[2, "A\\B"]]);
    expect(lines("A\\\\\n\n\nB")).toEqual([
      [3, "A"],
      [4, "B"],
    ]);
  });

  test("joins a million short continuations in time that grows with their number", () => {
    const text = `${"a".repeat(10_000)}${"\\\n".repeat(1_000_000)}`;
    expect(remarks(text)).toEqual(["1000000 Unexpected EOF after line continuation, line ignored."]);
    expect(lines(text, 219)).toEqual([[1_000_000, `${"a".repeat(10_000)}\\`]]);
  });

  test("skips a comment within a continuation, since v243", () => {
    expect(lines("A, \\\n# not me \\\n B")).toEqual([[3, "A, B"]]);
  });

  test("makes a comment within a continuation part of the line, up to v239", () => {
    expect(lines("A, \\\n# me\nBB\n", 239)).toEqual([
      [2, "A, # me"],
      [3, "BB"],
    ]);
  });

  test("drops a line that the file's end continues, since v243", () => {
    expect(lines("A=\\\n")).toEqual([]);
    expect(remarks("A\nB\\\n")).toEqual(["2 Unexpected EOF after line continuation, line ignored."]);
  });

  test("keeps a line that the file's end continues, up to v239", () => {
    expect(lines("AB\\\n", 219)).toEqual([[1, "AB\\"]]);
  });

  test("takes carriage returns for line ends, since v243", () => {
    expect(lines("A\r\nB\rC\n\rD")).toEqual([
      [1, "A"],
      [2, "B"],
      [3, "C"],
      [4, "D"],
    ]);
  });

  const long = "x".repeat(16_383);

  test("takes a line of 16383 bytes", () => {
    expect(lines(`${long}\nB`).length).toBe(2);
    expect(lines(`${"é".repeat(8191)}\nB`).length).toBe(2);
  });

  test.each([257, 252, 247] as const)("gives up the file at a line of 16384 bytes: %d", (version) => {
    const split = splitLines("f", `A\n${long}x\nB`, dialectOf(version));
    expect(split.complete).toBe(false);
    expect(split.lines.map(({ text }) => text)).toEqual(version === 257 ? [] : ["A"]);
    expect(split.diagnostics[0]).toMatchObject({ severity: "error", line: 2 });
    expect(splitLines("f", `${"é".repeat(8192)}\n`, dialectOf(version)).complete).toBe(false);
  });

  test("reads the rest of a long line as another line, up to v239", () => {
    expect(lines(`AA\n${long}REST\nBB`, 239)).toEqual([
      [1, "AA"],
      [3, "REST"],
      [4, "BB"],
    ]);
    expect(remarks(`AA\n${long}REST\n`, 239)).toEqual(["2 line too long, ignored"]);
  });

  test("ignores a logical line of 16384 bytes alone", () => {
    const text = `${"y".repeat(9000)}\\\n${"z".repeat(9000)}\\\nz\nB`;
    expect(lines(text)).toEqual([[4, "B"]]);
    expect(remarks(text)).toEqual(["3 Line is too long, ignored."]);
  });
});
