import { describe, expect, test } from "vitest";
import { formatDiagnostic } from "../../src/rules/diagnostic.ts";
import { parse, remarks } from "./samples.ts";

/** Wordings as `udevadm verify` of v257 prints them (src/udev/udev-rules.c; test/units/TEST-17-UDEV.11.sh). */
const SAID: readonly (readonly [string, string])[] = [
  ['ACTION{a}=="b"', "Invalid attribute for ACTION."],
  ['ACTION:="b"', "Invalid operator for ACTION."],
  ['ACTION=="b"', "The line has no effect, ignoring."],
  ['DEVPATH:="b"', "Invalid operator for DEVPATH."],
  ['KERNELS{a}=="b"', "Invalid attribute for KERNELS."],
  ['KERNELS-="b"', "Invalid operator for KERNELS."],
  ['NAME-="b"', "Invalid operator for NAME."],
  ['NAME+="a"', "NAME key takes '==', '!=', '=', or ':=' operator, assuming '='."],
  ['NAME:=""', 'Ignoring NAME="", as udev will not delete any network interfaces.'],
  ['NAME="%k"', 'Ignoring NAME="%k", as it will take no effect.'],
  ['ENV=="b"', "Invalid attribute for ENV."],
  ['ENV{}="b"', "Invalid attribute for ENV."],
  ['ENV{a}-="b"', "Invalid operator for ENV."],
  ['ENV{a}:="b"', "ENV key takes '==', '!=', '=', or '+=' operator, assuming '='."],
  ['ENV{ACTION}="b"', "Invalid ENV attribute. 'ACTION' cannot be set."],
  ['ENV{SEQNUM}="b"', "Invalid ENV attribute. 'SEQNUM' cannot be set."],
  [
    'ENV{a}=i"b"',
    "Invalid prefix 'i' for 'ENV'. The 'i' prefix can be specified only for '==' or '!=' operator.",
  ],
  ['CONST{a}=="b"', "Invalid attribute for CONST."],
  ['CONST{arch}="b"', "Invalid operator for CONST."],
  ['TAG:="a"', "TAG key takes '==', '!=', '=', or '+=' operator, assuming '='."],
  ['TAG="%?"', 'Invalid value "%?" for TAG (char 1: invalid substitution type), ignoring.'],
  ['SUBSYSTEM=="bus", NAME="b"', '"bus" must be specified as "subsystem".'],
  ['ATTR="b"', "Invalid attribute for ATTR."],
  ['ATTR{%}="b"', 'Invalid attribute "%" for ATTR (char 1: invalid substitution type), ignoring.'],
  ['ATTR{a}-="b"', "Invalid operator for ATTR."],
  ['ATTR{a}+="b"', "ATTR key takes '==', '!=', or '=' operator, assuming '='."],
  ['SYSCTL=""', "Invalid attribute for SYSCTL."],
  ['ATTRS{device/}!="a", NAME="b"', "'device' link may not be available in future kernels."],
  ['ATTRS{../}!="a", NAME="b"', "Direct reference to parent sysfs directory, may break in future kernels."],
  ['TEST{a}=="b"', "Failed to parse mode 'a': Invalid argument"],
  ['TEST{0644}="b"', "Invalid operator for TEST."],
  ['PROGRAM{a}=="b"', "Invalid attribute for PROGRAM."],
  ['PROGRAM-="b"', "Invalid operator for PROGRAM."],
  ['PROGRAM==i"b"', "Invalid prefix 'i' for PROGRAM."],
  ['PROGRAM=""', 'Invalid value "" for PROGRAM (char 0: empty value), ignoring.'],
  ['IMPORT="b"', "Invalid attribute for IMPORT."],
  ['IMPORT{a}="b"', "Invalid attribute for IMPORT."],
  ['IMPORT{constructor}="b"', "Invalid attribute for IMPORT."],
  ['IMPORT{builtin}!="foo"', "Unknown builtin command: foo"],
  ['RESULT:="b"', "Invalid operator for RESULT."],
  ['OPTIONS{a}="b"', "Invalid attribute for OPTIONS."],
  ['OPTIONS!="b"', "Invalid operator for OPTIONS."],
  ['OPTIONS+="link_priority=a"', "Failed to parse link priority 'a': Invalid argument"],
  ['OPTIONS:="log_level=a"', "Failed to parse log level 'a': Invalid argument"],
  ['OPTIONS="a", NAME="b"', "Invalid value for OPTIONS key, ignoring: 'a'"],
  ['OWNER!="b"', "Invalid operator for OWNER."],
  ['OWNER+="0"', "OWNER key takes '=' or ':=' operator, assuming '='."],
  ['MODE="%"', 'Invalid value "%" for MODE (char 1: invalid substitution type), ignoring.'],
  ['SECLABEL{a}:="b"', "SECLABEL key takes '=' or '+=' operator, assuming '='."],
  ['RUN=="b"', "Invalid operator for RUN."],
  ['RUN-="b"', "Invalid operator for RUN."],
  ['RUN{x}+="b"', "Invalid attribute for RUN."],
  ['RUN{builtin}+="foo"', "Unknown builtin command 'foo', ignoring."],
  ['RUN="$env"', 'Invalid value "$env" for RUN (char 5: attribute value missing), ignoring.'],
  ['RUN="%c{x}"', 'Invalid value "%c{x}" for RUN (char 6: attribute value not a valid number), ignoring.'],
  ['GOTO=="b"', "Invalid operator for GOTO."],
  ['LABEL{a}="b"', "Invalid attribute for LABEL."],
  ['NAME="a", GOTO="b"', 'GOTO="b" has no matching label, ignoring.'],
  ['a="b"', "Invalid key 'a'."],
];

describe("parseRules", () => {
  test.each(SAID)("says of %s: %s", (line, said) => {
    expect(remarks(line)).toEqual([`1 ${said}`]);
  });

  test("names file and line as udev does", () => {
    expect(parse('# x\na="b"').diagnostics.map(formatDiagnostic)).toEqual(["t.rules:2 Invalid key 'a'."]);
  });

  test("says where a pair cannot be read, and that comments begin lines", () => {
    expect(remarks("=")).toEqual(["1 Invalid key/value pair at character 1, ignoring."]);
    expect(remarks('ENV{a}="1" # x')).toEqual([
      "1 Invalid key/value pair at character 12, ignoring. Comments can only start at the beginning of a line.",
    ]);
  });

  test("drops the line of any bad token, since v243", () => {
    expect(
      parse('ENV{a}="1", FOO="2"\nENV{b}="1", zork\nENV{c}="1"').lines.map(({ number }) => number),
    ).toEqual([3]);
  });

  test("drops only an unknown OPTIONS value", () => {
    expect(parse('OPTIONS="x", ENV{a}="1"').lines[0]!.tokens.map(({ key }) => key)).toEqual(["ENV"]);
  });

  test("cuts a line at a bad pair and drops one with an unknown key, up to v239", () => {
    const { lines } = parse('ENV{a}="1", zork\nENV{b}="1", FOO="2"\nENV{c}="1", IMPORT{x}="y"', 239);
    expect(lines.map(({ number, tokens }) => [number, tokens.length])).toEqual([
      [1, 1],
      [3, 1],
    ]);
  });

  test("says nothing about values and style of assignment, up to v239", () => {
    expect(remarks('RUN+="%", ENV{a}:="b"\nACTION=="x"', 239)).toEqual([]);
  });

  test.each([219, 239, 247, 252, 257] as const)("knows CONST, but not cvm: %d", (version) => {
    expect(remarks('CONST{virt}=="none", ENV{a}="1"', version).length).toBe(version === 219 ? 1 : 0);
    // Refused by udevadm verify of 257.13.
    expect(remarks('CONST{cvm}=="none", ENV{a}="1"', version).length).toBe(1);
  });

  test("takes links away since after v252", () => {
    expect(remarks('SYMLINK-="b"', 252)).toEqual(["1 Invalid operator for SYMLINK."]);
    expect(remarks('SYMLINK-="b"', 257)).toEqual([]);
  });

  test("knows builtins from their versions on", () => {
    expect(remarks('IMPORT{builtin}="net_driver"', 257)).toEqual([]);
    expect(remarks('IMPORT{builtin}="net_driver"', 252).length).toBe(1);
    expect(remarks('IMPORT{program}="path_id", RUN{builtin}+="kmod load x"')).toEqual([]);
  });

  test("resolves a GOTO to the first later line with its label", () => {
    const { lines } = parse('GOTO="x"\nLABEL="y"\nLABEL="x"\nLABEL="x"');
    expect(lines[0]!.jump).toEqual({ label: "x", target: 2 });
  });

  test("refuses a GOTO backwards, and to its own line", () => {
    expect(remarks('LABEL="x"\nENV{a}="1"\nGOTO="x"')).toEqual([
      '3 GOTO="x" has no matching label behind it (GOTO leads forward only), ignoring.',
      "3 The line has no effect any more, dropping.",
    ]);
    expect(parse('LABEL="x", GOTO="x", ENV{a}="1"').lines[0]!.jump).toBeUndefined();
  });

  test("keeps targets right when lines before them are dropped", () => {
    const { lines } = parse('GOTO="no"\nGOTO="x"\nGOTO="no"\nLABEL="x"\nENV{a}="1"');
    expect(lines.map(({ number }) => number)).toEqual([2, 4, 5]);
    expect(lines[0]!.jump?.target).toBe(1);
  });

  test("takes the first GOTO and the last LABEL of a line", () => {
    expect(remarks('GOTO="a", GOTO="b"\nLABEL="b", LABEL="a"')).toEqual([
      '1 Contains multiple GOTO keys, ignoring GOTO="b".',
      '2 Contains multiple LABEL keys, ignoring LABEL="b".',
    ]);
    expect(parse('GOTO="a", GOTO="b"\nLABEL="b", LABEL="a"').lines[0]!.jump?.label).toBe("a");
  });

  test("leads no GOTO anywhere in a file that was given up", () => {
    const text = `GOTO="x"\nENV{a}="1"\nLABEL="x"\n${"y".repeat(17_000)}\n`;
    expect(parse(text, 252).lines[0]!.jump).toBeUndefined();
    expect(remarks(text, 252)).toContain('1 GOTO="x" leads nowhere: the file was given up before its end.');
  });

  test("sorts tokens by kind and keeps the order of equals", () => {
    const [line] = parse(
      'RUN+="1", ENV{a}="1", RESULT=="r", ENV{b}=="2", PROGRAM="p", RUN+="2", ATTRS{x}=="y", KERNEL=="k", ENV{a}=="3"',
    ).lines;
    expect(line!.tokens.map(({ text }) => text)).toEqual([
      'KERNEL=="k"',
      'ENV{b}=="2"',
      'ENV{a}=="3"',
      'ATTRS{x}=="y"',
      'PROGRAM="p"',
      'RESULT=="r"',
      'ENV{a}="1"',
      'RUN+="1"',
      'RUN+="2"',
    ]);
  });
});
