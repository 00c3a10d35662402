/** A way of keeping kdump accurate, as udev rules. */
import type { Dialect } from "../dialect.ts";
import { RuleSet } from "../evaluate.ts";

/** One policy's rules, written by us to the effect that a distribution's file has. */
export interface RulePolicy {
  readonly name: string;
  /** For people. */
  readonly title: string;
  /** Base name that the distribution gives the file: it decides what comes before and after it. */
  readonly fileName: string;
  readonly text: string;
  /** The command in `text` that is called on each event; replace it to call something else in its place. */
  readonly command: string | undefined;
}

/** The rules of several policies as one set, in udev's order if `policies` are. */
export function ruleSetOf(policies: readonly RulePolicy[], dialect: Dialect): RuleSet {
  const sources = policies.map(({ fileName, text }) => ({ path: `/usr/lib/udev/rules.d/${fileName}`, text }));
  return RuleSet.parse(sources, dialect);
}
