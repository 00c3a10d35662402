/** What rules do on an event, and what is wrong with them, for people and for programs. */
import type { CrashHotplug } from "../rules/device.ts";
import { describeEffect, type EventEffect } from "../rules/effect.ts";
import type { Finding } from "../rules/findings.ts";
import type { LineOutcome, Outcome, RuleAction } from "../rules/outcome.ts";
import type { Diagnostic } from "../rules/diagnostic.ts";
import { formatDiagnostic } from "../rules/diagnostic.ts";
import { SCHEMA_VERSION } from "./json.ts";
import { printable } from "./text.ts";

/** An explanation, with what it rests on. */
export interface Explanation {
  readonly systemd: number;
  readonly crashHotplug: CrashHotplug;
  /** How many files were read. */
  readonly files: number;
  readonly outcome: Outcome;
  readonly effect: EventEffect;
  readonly diagnostics: readonly Diagnostic[];
}

/**
 * `rules explain`, for people.
 *
 * @param all - whether lines of files that do not concern the event are shown too.
 */
export function explainText(explanation: Explanation, all: boolean): string {
  const { outcome, effect, systemd, crashHotplug, files, diagnostics } = explanation;
  const { event } = outcome;
  const remarks = diagnostics.filter(({ severity }) => severity !== "style");
  const parts = [
    `${event.action}@${printable(event.device.devpath)}: udev of systemd ${systemd}, ${counted(files, "file")} of rules, crash_hotplug ${crashHotplug}\n`,
    lineText(outcome, all),
    actionText(outcome),
    section(
      "Assumed",
      outcome.assumptions.map(({ path, line, text }) => `${path}:${line} ${text}`),
    ),
    section("udev says of the files", remarks.map(formatDiagnostic)),
    section("udev would log", outcome.problems.map(formatDiagnostic)),
    section("Effect on kdump", describeEffect(effect)),
  ];
  return parts.join("");
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

function section(title: string, lines: readonly string[]): string {
  return lines.length === 0 ? "" : `\n${title}:\n${lines.map((line) => `  ${printable(line)}\n`).join("")}`;
}

/** Lines of the files of which a line matched, or came close: got past ACTION, SUBSYSTEM and KERNEL. */
function lineText({ lines }: Outcome, all: boolean): string {
  const concerned = new Set(lines.filter(comesClose).map(({ line }) => line.path));
  const shown = lines.filter((one) => one.result !== "label" && (all || concerned.has(one.line.path)));
  const hidden = lines.filter((one) => !shown.includes(one) && one.result !== "label");
  const others = new Set(hidden.map(({ line }) => line.path));
  const rows: string[] = [];
  let path = "";
  for (const one of shown) {
    if (one.line.path !== path) rows.push(`\n${printable(one.line.path)}\n`);
    path = one.line.path;
    rows.push(
      `  ${String(one.line.number).padStart(4)}  ${verdict(one)}\n        ${printable(one.line.text)}\n`,
    );
  }
  if (others.size > 0)
    rows.push(
      `\n${counted(hidden.length, "line")} in ${counted(others.size, "other file")} that do not concern this event\n`,
    );
  return rows.join("");
}

function comesClose(one: LineOutcome): boolean {
  if (one.result === "matched") return one.line.tokens.some(({ key }) => !BROAD_KEYS.has(key));
  return one.result === "not-matched" && !BROAD_KEYS.has(/^[A-Z]+/.exec(one.token)?.[0] ?? "");
}

/** What files ask to rule out whole kinds of devices. */
const BROAD_KEYS = new Set(["ACTION", "SUBSYSTEM", "SUBSYSTEMS", "KERNEL", "DEVPATH", "ENV", "DRIVER"]);

function verdict(one: LineOutcome): string {
  switch (one.result) {
    case "matched":
      return one.line.jump ? `matched, goes on at LABEL="${printable(one.line.jump.label)}"` : "matched";
    case "not-matched":
      return `not matched: ${printable(one.token)}, found ${printable(one.found.text)}`;
    case "jumped-over":
      return `passed over by the GOTO of line ${one.by.number}`;
    case "not-applicable":
      return "not looked at: it only names what this device does not have";
    case "label":
      return "a label";
  }
}

function actionText({ actions, run }: Outcome): string {
  const steps = [
    ...actions.map((action) => `${action.path}:${action.line} ${describeAction(action)}`),
    ...run.map(
      ({ path, line, kind, command }) =>
        `${path}:${line} RUN ${kind === "builtin" ? "builtin " : ""}${command}`,
    ),
  ];
  return steps.length === 0 ? "\nNothing is done.\n" : section("Done, in this order", steps);
}

function describeAction(action: RuleAction): string {
  switch (action.kind) {
    case "program":
      return `PROGRAM ${action.command}: exit status ${action.result.exit}${action.assumed ? " (assumed, it was not run)" : " (as given, it was not run)"}`;
    case "import":
      return `IMPORT ${action.source} ${action.what}${action.done ? "" : ": nothing"}`;
    case "property":
      return action.value === undefined ? `unsets ${action.name}` : `sets ${action.name}=${action.value}`;
    case "attribute":
      return `writes ${JSON.stringify(action.value)} to ${action.file}`;
    case "sysctl":
      return `writes ${JSON.stringify(action.value)} to sysctl ${action.name}`;
    case "setting":
      return `${action.what} ${action.value}`;
  }
}

/** `rules explain --json`. */
export function explainJson(explanation: Explanation): Readonly<Record<string, unknown>> {
  const { outcome, effect, systemd, crashHotplug, diagnostics } = explanation;
  const { event } = outcome;
  return {
    schemaVersion: SCHEMA_VERSION,
    event: { action: event.action, devpath: event.device.devpath, subsystem: event.device.subsystem ?? null },
    systemd,
    crashHotplug,
    lines: outcome.lines.map(lineJson),
    actions: outcome.actions,
    run: outcome.run,
    properties: Object.fromEntries([...outcome.changed].map(([name, value]) => [name, value ?? null])),
    assumptions: outcome.assumptions,
    problems: outcome.problems,
    diagnostics,
    kdump: { ...effect, text: describeEffect(effect) },
  };
}

function lineJson(one: LineOutcome): Readonly<Record<string, unknown>> {
  const { path, number, text } = one.line;
  const base = { path, line: number, text, result: one.result };
  if (one.result === "not-matched")
    return { ...base, token: one.token, found: one.found.value ?? null, reason: one.found.text };
  if (one.result === "jumped-over") return { ...base, by: one.by.number };
  return one.result === "matched" && one.line.jump ? { ...base, goto: one.line.jump.label } : base;
}

/** What was checked. */
export interface Checked {
  readonly systemd: number;
  /** undefined: any kernel. */
  readonly crashHotplug: CrashHotplug | undefined;
  readonly files: readonly string[];
  readonly findings: readonly Finding[];
  /** What only `udevadm verify` minds; it does not count. */
  readonly style: readonly Diagnostic[];
}

/** `rules check`, for people. */
export function checkText(checked: Checked): string {
  const { systemd, files, findings, crashHotplug, style } = checked;
  const kernel = crashHotplug === undefined ? "any kernel" : `kernels with crash_hotplug ${crashHotplug}`;
  const what = `${counted(files.length, "file")} of rules, udev of systemd ${systemd}, ${kernel}`;
  const head = `${what}: ${findings.length === 0 ? "nothing found" : counted(findings.length, "finding")}\n`;
  const rows = findings.map(({ id, message, places }) => {
    const where = places
      .map(({ path, line }) => `      ${printable(path)}${line === 0 ? "" : `:${line}`}\n`)
      .join("");
    return `  ${id}: ${printable(message)}\n${where}`;
  });
  return head + rows.join("") + section("Style, as udevadm verify sees it", style.map(formatDiagnostic));
}

/** `rules check --json`. */
export function checkJson(checked: Checked): Readonly<Record<string, unknown>> {
  return { schemaVersion: SCHEMA_VERSION, ...checked, crashHotplug: checked.crashHotplug ?? null };
}
