import { describe, expect, test } from "vitest";
import { verifyRules } from "../../src/rules/verify.ts";
import { parse } from "./samples.ts";

/** `line message` of the extra checks; as `udevadm verify` of v257 says (check_token_delimiters and others). */
function verify(text: string): readonly string[] {
  return verifyRules(parse(text)).map(({ line, message }) => `${line} ${message}`);
}

const CONFLICT = "1 conflicting match expressions, the line has no effect.";
const DUPLICATE = "1 duplicate expressions.";

describe("verifyRules", () => {
  test.each<readonly [string, readonly string[]]>([
    [',ACTION=="a", NAME="b"', ["stray leading comma."]],
    [' , ACTION=="a", NAME="b"', ["stray leading comma."]],
    ['ACTION=="a", NAME="b", ', ["stray trailing comma."]],
    ['ACTION=="a" NAME="b"', ["a comma between tokens is expected."]],
    [
      'ACTION=="a"NAME="b"',
      ["a comma between tokens is expected.", "whitespace between tokens is expected."],
    ],
    ['ACTION=="a",, NAME="b"', ["more than one comma between tokens."]],
    ['ACTION=="a" , NAME="b"', ["stray whitespace before comma."]],
    ['ACTION=="a",NAME="b"', ["whitespace after comma is expected."]],
    ['ACTION=="a" ,NAME="b"', ["stray whitespace before comma.", "whitespace after comma is expected."]],
    ['ACTION=="a", NAME="b"', []],
  ])("minds the style of %s", (text, wanted) => {
    expect(verify(text)).toEqual(wanted.map((message) => `1 style: ${message}`));
  });

  test.each<readonly [string, readonly string[]]>([
    ['KERNEL=="", KERNEL=="?*", NAME="a"', [CONFLICT]],
    ['KERNEL=="abc", KERNEL!="abc", NAME="b"', [CONFLICT]],
    ['KERNEL=="|a|b", KERNEL!="b|a|", NAME="c"', [CONFLICT]],
    ['KERNEL=="a|b", KERNEL=="c|d|e", NAME="f"', [CONFLICT]],
    ['ACTION=="a*", ACTION=="bc*", NAME="d"', [CONFLICT]],
    ['ACTION=="a*|bc*", ACTION=="d*|ef*", NAME="g"', [CONFLICT]],
    ['KERNEL!="", KERNEL=="?*", NAME="a"', [DUPLICATE]],
    ['KERNEL=="|a|b", KERNEL=="b|a|", NAME="c"', [DUPLICATE]],
    ['KERNEL!="", KERNEL=="?*", KERNEL=="", NAME="a"', [DUPLICATE, CONFLICT]],
    ['KERNEL=="a|b", KERNEL=="a|c", NAME="d"', []],
    ['KERNEL=="a|b", KERNEL!="a|c", NAME="d"', []],
    ['KERNEL!="a", KERNEL!="b", NAME="c"', []],
    ['KERNEL=="|a", KERNEL=="|b", NAME="c"', []],
    ['KERNEL=="*", KERNEL=="a*", NAME="b"', []],
    ['KERNEL=="a*", KERNEL=="c*|ab*", NAME="d"', []],
    ['ENV{a}=="1", ENV{b}!="1", NAME="d"', []],
    ['RUN+="a", RUN+="a"', [DUPLICATE]],
  ])("compares the matches of %s", (text, wanted) => {
    expect(verify(text)).toEqual(wanted);
  });

  test("minds RESULT before PROGRAM, and labels that nobody uses", () => {
    expect(verify('RESULT=="a", PROGRAM="b"')).toEqual([
      "1 Reordering RESULT check after PROGRAM assignment.",
    ]);
    expect(verify('PROGRAM="a", RESULT=="b"')).toEqual([]);
    expect(verify('GOTO="b"\nLABEL="b"\nLABEL="b"')).toEqual(['3 style: LABEL="b" is unused.']);
  });
});
