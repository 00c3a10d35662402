/** docs/reference/exit-codes.md, from what the program says of each. */
import { EXIT, exitOfError, exitOfVerdict, UsageError } from "../../../src/cli/exit.ts";
import { ImageError } from "../../../src/image/error.ts";
import type { Verdict } from "../../../src/keeper/audit.ts";
import { nagiosOf } from "../../../src/report/nagios.ts";
import { HeaderFileError } from "../../../src/targets/file.ts";
import { LibvirtError, type LibvirtErrorKind } from "../../../src/targets/libvirt/error.ts";
import { KeeperBusyError } from "../../../src/targets/qemu/keeper-lock.ts";
import {
  QmpClosedError,
  QmpConnectError,
  type QmpConnectErrorKind,
  QmpTimeoutError,
} from "../../../src/targets/qemu/qmp-errors.ts";
import { TargetError } from "../../../src/targets/target.ts";
import { commandTree } from "../command-tree.ts";
import { helpAfter } from "./command-pages.ts";

const VERDICTS: Readonly<Record<Verdict, string>> = {
  accurate: "a panic now gives a dump with everything that the machine has",
  inaccurate: "the dump would lack memory or CPUs, or claim what is gone",
  "not-loaded": "there would be no dump: no capture kernel is loaded, or no crash memory is reserved",
  broken: "there would be no dump: the digest does not match, and purgatory would spin",
  unknown: "it cannot be told; the reason says why, and what would make it known",
};

const connect = (kind: QmpConnectErrorKind): QmpConnectError =>
  new QmpConnectError(kind, "/run/a.sock", kind);
const libvirt = (kind: LibvirtErrorKind): LibvirtError => new LibvirtError(kind, kind);

/** What can go wrong, in words, and what the program makes of it. */
const FAILURES: readonly (readonly [string, unknown])[] = [
  ["an option or argument that does not exist, is missing, or contradicts another", new UsageError("x")],
  ["a TARGET that cannot be understood, or with which this command does not work", new TargetError("x")],
  ["a file without a core header", new HeaderFileError("x")],
  ["no QMP socket at that path", connect("absent")],
  ["a QMP socket on which nobody listens: QEMU has ended", connect("refused")],
  ["what answers there does not speak QMP", connect("not-qmp")],
  ["the path is no socket", connect("not-a-socket")],
  ["another client holds the QMP socket", connect("busy")],
  ["no permission to open the socket", connect("denied")],
  ["another keeper is at work on that QEMU", new KeeperBusyError("x")],
  ["QEMU ended, or closed the connection", new QmpClosedError("x")],
  ["QEMU does not answer in time", new QmpTimeoutError("x", 1)],
  ["no virsh is installed", libvirt("no-virsh")],
  ["there is no such domain", libvirt("absent")],
  ["the domain is shut off", libvirt("not-running")],
  ["no libvirt answers, or it does not let us in", libvirt("away")],
  ["the header has no room, and cannot be moved", new ImageError("header-too-large", "x")],
  ["a re-arm that is not proven to be safe", new ImageError("unsafe-rearm", "x")],
  ["the guest changed its image meanwhile", new ImageError("changed", "x")],
  ["the guest panics right now", new ImageError("panicking", "x")],
  ["an install that was neither finished nor undone", new ImageError("half-written", "x")],
];

/** The page, as Markdown. */
export async function exitCodesPage(): Promise<string> {
  const help = helpAfter(await commandTree());
  const codes = Object.values(EXIT).map((code) => `| ${code} | ${wordsOf(code, help)} |\n`);
  const verdicts = Object.entries(VERDICTS).map(
    ([verdict, words]) => `| \`${verdict}\` | ${words} | ${codeOf(verdict)} | ${nagios(verdict)} |\n`,
  );
  const failures = FAILURES.map(([words, error]) => `| ${words} | ${exitOfError(error)} |\n`);
  return `# Exit codes

The same for every command. This page is made from the program by \`npm run docs:reference\`; a test fails where the two differ.

| code | says |
| --- | --- |
${codes.join("")}
## Verdicts

\`audit\`, and \`keep --once\`, \`plug\` and \`unplug\` by the verdict afterwards, end with:

| verdict | says | exit code | with \`--nagios\` |
| --- | --- | --- | --- |
${verdicts.join("")}
An accurate header with a warning (a capture kernel without \`acpi_no_memhotplug\`) is 0, and WARNING with \`--nagios\`. \`audit --all\` ends with 1 where one target is a no, else with 3 where one is not a yes.
\`journal --at\` answers in the same way: 0 accurate, 1 not, 3 cannot be told. \`lab run\`, \`lab campaign\` and \`lab matrix\` end with 1 where a dump that is promised was not complete; \`rules check\` where something was found; \`simulate rfc\` where a calibrated cell is off by more than 10 %.

## What goes wrong

| what | exit code |
| --- | --- |
${failures.join("")}`;
}

/** What the program's help says of a code. @throws where it says nothing. */
function wordsOf(code: number, help: string): string {
  const words = new RegExp(`^ *${code} +(\\S.*)$`, "m").exec(help)?.[1];
  if (words === undefined) throw new Error(`The help does not say what exit code ${code} is:\n${help}`);
  return words;
}

function codeOf(verdict: string): number {
  return exitOfVerdict(Object.keys(VERDICTS).includes(verdict) ? asVerdict(verdict) : "unknown");
}

function asVerdict(text: string): Verdict {
  const known: readonly Verdict[] = ["accurate", "inaccurate", "not-loaded", "broken", "unknown"];
  return known.find((each) => each === text)!;
}

/** `2 CRITICAL`. */
function nagios(verdict: string): string {
  const { line, code } = nagiosOf([{ target: "x", verdict, reason: "x" }], false);
  return `${code} ${line.split(" ")[0]}`;
}
