/**
 * What `udevadm test --action=online /devices/system/memory/memory40` of Debian 12 (systemd 252.39) printed for these
 * rules, each as the only file: properties that are not the uevent's own, and the RUN list. The rules are ours.
 * Memory block 40 was online; rules were read from a tmpfs in a private mount namespace, with sysfs read-only.
 */
import type { ProgramResult } from "../../src/rules/world.ts";

/** One recording. */
export interface Recording {
  readonly name: string;
  readonly rules: readonly string[];
  readonly properties: Readonly<Record<string, string>>;
  readonly run: readonly string[];
}

export const RECORDINGS: readonly Recording[] = [
  {
    name: "sorted",
    rules: ['KERNEL=="memory40", ENV{A}="1", ENV{A}=="", ENV{B}="2"'],
    properties: { A: "1", B: "2" },
    run: [],
  },
  {
    name: "envselforder",
    rules: ['ENV{x}="1", ENV{x}=="1"', 'ENV{x}=="1", ENV{y}="yes"'],
    properties: {},
    run: [],
  },
  {
    name: "result order",
    rules: ['RESULT=="a", PROGRAM="/bin/echo a", ENV{R}="%c"'],
    properties: { R: "a" },
    run: [],
  },
  {
    name: "result persist",
    rules: ['PROGRAM="/bin/echo one two three"', 'ENV{P}="%c{2}", ENV{Q}="$result{2+}", ENV{S}="$result"'],
    properties: { P: "two", Q: "two three", S: "one two three" },
    run: [],
  },
  {
    name: "result reset",
    rules: ['PROGRAM="/bin/echo one"', 'PROGRAM="/bin/false"', 'ENV{P}="[%c]"'],
    properties: { P: "[]" },
    run: [],
  },
  {
    name: "prog neg",
    rules: ['PROGRAM!="/bin/false", ENV{N}="1"', 'PROGRAM!="/bin/true", ENV{M}="1"'],
    properties: { N: "1" },
    run: [],
  },
  {
    name: "attr missing",
    rules: [
      'ATTR{nope}!="1", ENV{A}="ne"',
      'ATTR{nope}=="", ENV{B}="eq"',
      'ATTR{state}=="?*", ENV{C}="state"',
    ],
    properties: { C: "state" },
    run: [],
  },
  {
    name: "attrs missing",
    rules: [
      'ATTRS{crash_hotplug}!="1", ENV{A}="ne"',
      'ATTRS{block_size_bytes}=="?*", ENV{B}="$attr{block_size_bytes}", ENV{C}="$id"',
    ],
    properties: { B: "8000000", C: "memory" },
    run: [],
  },
  {
    name: "parent same",
    rules: [
      'KERNELS=="memory", ATTRS{state}=="online", ENV{A}="1"',
      'KERNELS=="memory40", ATTRS{state}=="online", ENV{B}="1"',
      'KERNELS=="memory", SUBSYSTEMS=="", ENV{C}="1"',
    ],
    properties: { B: "1", C: "1" },
    run: [],
  },
  {
    name: "subst",
    rules: [
      'ENV{A}="%k|%n|%p|%b|%M|%m|%P|%r|%S|%%|$$|$kernel|$number|$devpath|$root|$sys|$name|$links|$devnode|%z|$zork|$idle"',
    ],
    properties: {
      A: "memory40|40|/devices/system/memory/memory40||0|0||/dev|/sys|%|$|memory40|40|/devices/system/memory/memory40|/dev|/sys|memory40|||%z|$zork|le",
    },
    run: [],
  },
  {
    name: "broken",
    rules: ['ENV{A}="a$env{", ENV{B}="b$env{}c", ENV{C}="x%c{z}y", ENV{D}="d$attr"'],
    properties: { A: "a", B: "b", C: "xy", D: "d" },
    run: [],
  },
  {
    name: "goto",
    rules: ['GOTO="x"', 'ENV{A}="1"', 'LABEL="x"', 'ENV{B}="1"'],
    properties: { B: "1" },
    run: [],
  },
  {
    name: "goto back",
    rules: ['LABEL="x"', 'ENV{A}="1"', 'GOTO="x"', 'ENV{B}="1"'],
    properties: { A: "1", B: "1" },
    run: [],
  },
  {
    name: "goto two",
    rules: ['GOTO="a", GOTO="b"', 'ENV{X}="1"', 'LABEL="a"', 'ENV{Y}="1"', 'LABEL="b"', 'ENV{Z}="1"'],
    properties: { Y: "1", Z: "1" },
    run: [],
  },
  {
    name: "goto cond",
    rules: ['SUBSYSTEM=="cpu", GOTO="end"', 'ENV{A}="1"', 'LABEL="end"'],
    properties: { A: "1" },
    run: [],
  },
  {
    name: "label last",
    rules: ['GOTO="b"', 'ENV{X}="1"', 'LABEL="a", LABEL="b"', 'ENV{Y}="1"'],
    properties: { Y: "1" },
    run: [],
  },
  {
    name: "comment cont",
    rules: ['SUBSYSTEM=="memory", \\', "# comment", ' ENV{A}="1"'],
    properties: { A: "1" },
    run: [],
  },
  {
    name: "inline comment",
    rules: ['ENV{A}="1" # no', 'ENV{B}="2"'],
    properties: { B: "2" },
    run: [],
  },
  {
    name: "eof cont",
    rules: ['ENV{A}="1"', 'ENV{B}="2" \\'],
    properties: { A: "1" },
    run: [],
  },
  {
    name: "nocommas",
    rules: ['SUBSYSTEM=="memory"ENV{A}="1"ENV{B}="2"'],
    properties: { A: "1", B: "2" },
    run: [],
  },
  {
    name: "weird ops",
    rules: ['SUBSYSTEM == "memory" , ENV{A} = "1"', 'SUBSYSTEM=="memory",,, ENV{B}:="1"'],
    properties: { A: "1", B: "1" },
    run: [],
  },
  {
    name: "quotes",
    rules: ['ENV{A}="a\\"b\\c\\n"', 'ENV{B}=e"a\\tb\\x41\\u00e9"'],
    properties: { A: 'a"b\\c\\n', B: "a\tbAé" },
    run: [],
  },
  {
    name: "e bad",
    rules: ['ENV{A}=e"\\q"', 'ENV{B}="1"'],
    properties: { B: "1" },
    run: [],
  },
  {
    name: "i prefix",
    rules: ['KERNEL==i"MEMORY40", ENV{A}="1"'],
    properties: {},
    run: [],
  },
  {
    name: "alt",
    rules: [
      'KERNEL=="foo|memory4*", ENV{A}="1"',
      'KERNEL=="|foo", ENV{B}="1"',
      'ENV{none}=="|foo", ENV{C}="1"',
      'ENV{none}!="?*", ENV{D}="1"',
    ],
    properties: { A: "1", C: "1", D: "1" },
    run: [],
  },
  {
    name: "glob",
    rules: [
      'KERNEL=="memory[0-4][!1-9]", ENV{A}="1"',
      'DEVPATH=="*/memory40", ENV{B}="1"',
      'KERNEL=="m?mory*", ENV{C}="1"',
      'KERNEL=="memory[[:digit:]]0", ENV{D}="1"',
      'KERNEL=="memory\\40", ENV{E}="1"',
      'KERNEL=="memory[", ENV{F}="1"',
      'KERNEL=="*mem*4*", ENV{G}="1"',
    ],
    properties: { A: "1", B: "1", C: "1", D: "1", G: "1" },
    run: [],
  },
  {
    name: "subsystem class",
    rules: ['SUBSYSTEM=="class", ENV{A}="1"', 'SUBSYSTEM!="bus", ENV{B}="1"'],
    properties: { B: "1" },
    run: [],
  },
  {
    name: "env protected",
    rules: [
      'ENV{ACTION}="x", ENV{A}="1"',
      'ENV{SEQNUM}="x", ENV{B}="1"',
      'ENV{.p}="private"',
      'ENV{.p}=="private", ENV{C}="$env{.p}"',
    ],
    properties: { ".p": "private", C: "private" },
    run: [],
  },
  {
    name: "env add",
    rules: ['ENV{A}="1"', 'ENV{A}+="2"', 'ENV{A}+=""', 'ENV{B}+="x"', 'ENV{C}="1"', 'ENV{C}=""'],
    properties: { A: "1 2", B: "x" },
    run: [],
  },
  {
    name: "options unknown",
    rules: ['OPTIONS="nonsense", ENV{A}="1"', 'OPTIONS="link_priority=x", ENV{B}="1"'],
    properties: { A: "1" },
    run: [],
  },
  {
    name: "bad op",
    rules: ['ACTION="x", ENV{A}="1"', 'RUN=="x", ENV{B}="1"', 'ENV{C}-="1"', 'ENV{D}="1"'],
    properties: { D: "1" },
    run: [],
  },
  {
    name: "unknown key",
    rules: ['FOO=="x", ENV{A}="1"', 'ENV{B}="1"'],
    properties: { B: "1" },
    run: [],
  },
  {
    name: "run",
    rules: ['RUN+="/bin/a %k", RUN+="/bin/b"', 'RUN+="/bin/c $env{L}"', 'ENV{L}="late"'],
    properties: { L: "late" },
    run: ["/bin/a memory40", "/bin/b", "/bin/c "],
  },
  {
    name: "run clear",
    rules: ['RUN+="/bin/a"', 'RUN="/bin/b"', 'RUN+="/bin/c"'],
    properties: {},
    run: ["/bin/b", "/bin/c"],
  },
  {
    name: "run final",
    rules: ['RUN+="/bin/a"', 'RUN:="/bin/b"', 'RUN+="/bin/c"'],
    properties: {},
    run: ["/bin/b"],
  },
  {
    name: "run builtin",
    rules: [
      'RUN{builtin}+="kmod load x"',
      'RUN{builtin}+="nonsense", ENV{A}="1"',
      'RUN{x}+="y", ENV{B}="1"',
      'RUN{program}+="/bin/z"',
    ],
    properties: {},
    run: ["kmod load x", "/bin/z"],
  },
  {
    name: "run dup",
    rules: ['RUN+="/bin/a"', 'RUN+="/bin/a"'],
    properties: {},
    run: ["/bin/a", "/bin/a"],
  },
  {
    name: "owner only",
    rules: [
      'OWNER="root", ENV{A}="1"',
      'OWNER="root"',
      'SYMLINK+="x", ENV{B}="1"',
      'NAME="y", ENV{C}="1"',
      'MODE="0600", RUN+="/bin/m"',
    ],
    properties: { A: "1", B: "1", C: "1" },
    run: ["/bin/m"],
  },
  {
    name: "test",
    rules: [
      'TEST=="state", ENV{A}="1"',
      'TEST!="nope", ENV{B}="1"',
      'TEST=="/etc/passwd", ENV{C}="1"',
      'TEST{0111}=="state", ENV{D}="1"',
      'TEST{0444}=="state", ENV{E}="1"',
      'TEST=="[memory/memory40]state", ENV{F}="1"',
      'TEST=="../block_size_bytes", ENV{G}="1"',
    ],
    properties: { A: "1", B: "1", C: "1", E: "1", F: "1", G: "1" },
    run: [],
  },
  {
    name: "attr subst",
    rules: ['ENV{f}="state"', 'ATTR{$env{f}}=="online", ENV{A}="1"'],
    properties: { f: "state" },
    run: [],
  },
  {
    name: "import db",
    rules: ['IMPORT{db}="NOPE", ENV{A}="1"', 'IMPORT{db}!="NOPE", ENV{B}="1"'],
    properties: { B: "1" },
    run: [],
  },
  {
    name: "import parent",
    rules: ['IMPORT{parent}="*", ENV{A}="1"'],
    properties: { A: "1" },
    run: [],
  },
  {
    name: "import bad",
    rules: ['IMPORT{zork}="x", ENV{A}="1"', 'IMPORT{builtin}="zork", ENV{B}="1"'],
    properties: {},
    run: [],
  },
  {
    name: "prog chars",
    rules: ['PROGRAM="/bin/echo a;b&c(d)", ENV{A}="%c"'],
    properties: { A: "a_b_c_d_" },
    run: [],
  },
  {
    name: "prog quote",
    rules: ['PROGRAM="/bin/echo \'a  b\' \\"c\\"", ENV{A}="%c"'],
    properties: { A: "a  b c" },
    run: [],
  },
  {
    name: "string escape",
    rules: ['ENV{A}="a/b c;d", OPTIONS="string_escape=replace"', 'ENV{B}="a/b c;d"'],
    properties: { A: "a_b_c_d", B: "a/b c;d" },
    run: [],
  },
  {
    name: "driver",
    rules: ['DRIVER=="", ENV{A}="1"', 'DRIVERS=="?*", ENV{B}="1"', 'DRIVER!="x", ENV{C}="1"'],
    properties: { A: "1", C: "1" },
    run: [],
  },
  {
    name: "long env",
    rules: [
      'ENV{A}="aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"',
      'ENV{B}="aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"',
      'ENV{D}="1"',
    ],
    properties: {
      A: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
      D: "1",
    },
    run: [],
  },
  {
    name: "crlf",
    rules: ['ENV{A}="1"\r', 'ENV{B}="2"\r', 'ENV{C}=="",\\\r', 'ENV{D}="1"'],
    properties: { A: "1", B: "2", D: "1" },
    run: [],
  },
  {
    name: "empty brace",
    rules: [
      'ENV{}="1", ENV{A}="1"',
      'ATTR{}=="x", ENV{B}="1"',
      'ACTION{}=="online", ENV{C}="1"',
      'RUN{}+="/bin/x", ENV{D}="1"',
      'ENV{E}="1"',
    ],
    properties: { E: "1" },
    run: [],
  },
  {
    name: "brace space",
    rules: ['ENV{a b}="1"', 'ENV{a b}=="1", ENV{A}="1"'],
    properties: { "a b": "1", A: "1" },
    run: [],
  },
  {
    name: "envbang",
    rules: ['ENV{x}!="1", ENV{A}="1"', 'ENV{x}!="", ENV{B}="1"', 'ENV{x}=="*", ENV{C}="1"'],
    properties: { A: "1", C: "1" },
    run: [],
  },
  {
    name: "number only",
    rules: ['ENV{A}="$attr{phys_index}", ENV{B}="%s{state}", ENV{C}="%E{SUBSYSTEM}", ENV{D}="$env{DEVPATH}"'],
    properties: { A: "00000028", B: "online", C: "memory", D: "/devices/system/memory/memory40" },
    run: [],
  },
  {
    name: "trailing blanks",
    rules: ['PROGRAM="/bin/printf \'a b  \\n\\n\'", ENV{A}="[%c]"'],
    properties: { A: "[a b  ]" },
    run: [],
  },
  {
    name: "vertical",
    rules: ['ENV{A}=="|", ENV{X}="1"', 'ENV{A}=="||", ENV{Y}="1"', 'KERNEL=="memory40||x", ENV{Z}="1"'],
    properties: { X: "1", Y: "1", Z: "1" },
    run: [],
  },
  {
    name: "e double",
    rules: ['ENV{A}=ee"x"', 'ENV{B}=x"y"', 'ENV{C}= "z"'],
    properties: { C: "z" },
    run: [],
  },
  {
    name: "unclosed",
    rules: ['ENV{A}="x', 'ENV{B}="1"', 'ENV{C="1"', 'ENV{D}="1"'],
    properties: { B: "1", D: "1" },
    run: [],
  },
  {
    name: "run broken subst",
    rules: ['RUN+="/bin/x $env{SUBSYSTEM} %n $attr{state} $$HOME %%"'],
    properties: {},
    run: ["/bin/x memory 40 online $HOME %"],
  },
];

/** What the commands in the recordings print. */
export function recordedProgram(command: string): ProgramResult {
  const [program = "", ...words] = command.split(" ");
  if (program === "/bin/false") return { exit: 1, stdout: "" };
  if (program === "/bin/echo") return { exit: 0, stdout: `${words.join(" ").replaceAll(/["']/g, "")}\n` };
  return program === "/bin/printf" ? { exit: 0, stdout: "a b  \n\n" } : { exit: 0, stdout: "" };
}
