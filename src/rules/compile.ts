/** Lines made ready to run, and the short lists of those that an event can concern at all. */
import { askStep } from "./ask.ts";
import { assignStep } from "./assign.ts";
import type { UdevEvent } from "./event.ts";
import { matchStep, parentStep } from "./match.ts";
import type { RuleFile, RuleLine } from "./parse.ts";
import type { Step } from "./step.ts";
import { hasEffect, isMatchToken, isParentToken, namesNode, needOf, type Token } from "./token.ts";

/** What a device must have so that udev looks at the line at all. */
export type Applies = "always" | "never" | "node" | "interface" | "node-or-interface";

/** A line, compiled. */
export interface CompiledLine {
  readonly line: RuleLine;
  /** Index among all lines of all files. */
  readonly index: number;
  readonly steps: readonly Step[];
  readonly applies: Applies;
  /** Index of the line that a GOTO leads to; undefined where it goes on with the next. */
  readonly target: number | undefined;
}

/** Compiles the lines of `files`, in their order. */
export function compileLines(files: readonly RuleFile[]): readonly CompiledLine[] {
  const compiled: CompiledLine[] = [];
  for (const file of files) {
    const base = compiled.length;
    for (const line of file.lines) {
      compiled.push({
        line,
        index: compiled.length,
        steps: compileSteps(line.tokens),
        applies: file.dialect.nodeLines === "skip" ? appliesOld(line) : appliesNew(line),
        target: line.jump && base + line.jump.target,
      });
    }
  }
  return compiled;
}

function compileSteps(tokens: readonly Token[]): readonly Step[] {
  const steps: Step[] = [];
  const [first, ...others] = tokens.filter(isParentToken);
  let parentsDone = false;
  for (const token of tokens) {
    if (!isParentToken(token)) steps.push(compileStep(token));
    else if (!parentsDone && first) {
      steps.push(parentStep([first, ...others]));
      parentsDone = true;
    }
  }
  return steps;
}

function compileStep(token: Token): Step {
  if (token.pattern) return matchStep(token);
  return isMatchToken(token) ? askStep(token) : assignStep(token);
}

/** Since v243 (`udev_rule_apply_line_to_event`): a line counts if any of its effects can apply to the device. */
function appliesNew({ tokens, jump }: RuleLine): Applies {
  const needs = new Set(tokens.filter(hasEffect).map(needOf));
  if (jump || needs.has(undefined)) return "always";
  if (needs.has("node")) return needs.has("interface") ? "node-or-interface" : "node";
  return needs.has("interface") ? "interface" : "never";
}

/** Up to v239 (`can_set_name`): a line that names a node counts only where there is something to name. */
function appliesOld({ tokens }: RuleLine): Applies {
  return tokens.some(namesNode) ? "node-or-interface" : "always";
}

/** Whether udev looks at the line in this event; nothing is named when a device goes. */
export function appliesTo(applies: Applies, { action, device }: UdevEvent): boolean {
  if (applies === "always") return true;
  if (applies === "never" || action === "remove") return false;
  if (applies !== "interface" && device.node) return true;
  return applies !== "node" && device.ifindex !== undefined;
}

/** A line in a plan: without the matches that are known to hold. */
export interface PlannedLine {
  readonly compiled: CompiledLine;
  readonly steps: readonly Step[];
  /** Index in the plan. */
  readonly next: number;
}

/**
 * The lines whose ACTION and SUBSYSTEM matches hold for an event, without these matches. They cannot change while an
 * event is evaluated, and they rule out most lines of most rule sets.
 */
export function planFor(
  lines: readonly CompiledLine[],
  { action, device }: UdevEvent,
): readonly PlannedLine[] {
  const subsystem = device.subsystem ?? "";
  const relevant = lines.filter(
    ({ line, applies, steps }) =>
      applies !== "never" &&
      (steps.length > 0 || line.jump !== undefined) &&
      line.tokens.every(({ kind, pattern }) => {
        if (kind === "match-action") return pattern!.test(action);
        return kind !== "match-subsystem" || pattern!.test(subsystem);
      }),
  );
  return relevant.map((compiled, i) => ({
    compiled,
    steps: compiled.steps.filter(
      ({ token: { kind } }) => kind !== "match-action" && kind !== "match-subsystem",
    ),
    next: compiled.target === undefined ? i + 1 : firstFrom(relevant, compiled.target),
  }));
}

/** Index of the first line at or behind `index`, by bisection. */
function firstFrom(lines: readonly CompiledLine[], index: number): number {
  let low = 0;
  let high = lines.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (lines[middle]!.index < index) low = middle + 1;
    else high = middle;
  }
  return low;
}
