/** Short ways to make rules, events and worlds for the tests of this room. */
import { dialectOf, type SystemdVersion } from "../../src/rules/dialect.ts";
import type { KernelSpec } from "../../src/rules/device.ts";
import { type EvaluateOptions, RuleSet } from "../../src/rules/evaluate.ts";
import { makeEvent, parseEventSpec, type UdevEvent } from "../../src/rules/event.ts";
import type { Outcome } from "../../src/rules/outcome.ts";
import { parseRules, type RuleFile } from "../../src/rules/parse.ts";

/** One file of rules. */
export function parse(text: string, version: SystemdVersion = 257): RuleFile {
  return parseRules({ path: "t.rules", text }, dialectOf(version));
}

/** `line message` of everything that udev says about the rules. */
export function remarks(text: string, version: SystemdVersion = 257): readonly string[] {
  return parse(text, version).diagnostics.map(({ line, message }) => `${line} ${message}`);
}

/** One file of rules, ready for events. */
export function ruleSet(text: string, version: SystemdVersion = 257): RuleSet {
  return RuleSet.parse([{ path: "t.rules", text }], dialectOf(version));
}

const OLD_KERNEL: KernelSpec = { crashHotplug: "absent" };

/** An event as it is written on the command line. */
export function eventOf(spec: string, kernel: KernelSpec = OLD_KERNEL): UdevEvent {
  return makeEvent(parseEventSpec(spec), { kernel });
}

/** What {@link outcome} may be told beside the rules. */
export interface Given extends EvaluateOptions {
  readonly version?: SystemdVersion;
  readonly event?: string;
  readonly kernel?: KernelSpec;
}

/** What the rules do when memory block 40 comes online, or at another event. */
export function outcome(text: string, given: Given = {}): Outcome {
  const { version, event = "online:memory40", kernel, ...options } = given;
  return ruleSet(text, version).explain(eventOf(event, kernel), options);
}

/** Properties that the rules set, and null for what they unset. */
export function properties(text: string, given: Given = {}): Readonly<Record<string, string | null>> {
  return Object.fromEntries([...outcome(text, given).changed].map(([name, value]) => [name, value ?? null]));
}

/** Whether the line sets a property, that is, whether its matches hold. */
export function matches(tokens: string, given: Given = {}): boolean {
  return properties(`${tokens}, ENV{matched}="yes"`, given)["matched"] === "yes";
}

/** Commands of the RUN list. */
export function runs(text: string, given: Given = {}): readonly string[] {
  return outcome(text, given).run.map(({ command }) => command);
}
