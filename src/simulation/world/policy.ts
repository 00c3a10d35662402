/** The ways of keeping kdump accurate that are compared: rules and their programs, a keeper, or nobody. */
import type { RuleSet } from "../../rules/evaluate.ts";
import { parseDialect } from "../../rules/dialect.ts";
import { DEBIAN, UBUNTU2004 } from "../../rules/policies/debian.ts";
import { ONLINE, ONLINE_RHEL7, ONLINE_RHEL8 } from "../../rules/policies/onlining.ts";
import { type RulePolicy, ruleSetOf } from "../../rules/policies/policy.ts";
import { RELOAD_OVER } from "../../rules/policies/reload-over.ts";
import { RHEL7, RHEL8, RHEL_GUARDED } from "../../rules/policies/rhel.ts";
import { SUSE } from "../../rules/policies/suse.ts";
import { SimulationError } from "../error.ts";
import type { Keeper } from "./keepers.ts";

/** One way. */
export interface Policy {
  readonly name: string;
  readonly title: string;
  /** What udev does on each event: bringing memory online, and what the distribution does to kdump. */
  readonly rules: RuleSet;
  /** Who acts beside udev, and beside a kernel that updates the header itself. */
  readonly keeper: Keeper;
  /** Whether the policy needs a kernel that updates the header itself. */
  readonly needsCrashHotplug: boolean;
}

/** What a name stands for beside its own policy. */
const ALIASES: ReadonlyMap<string, string> = new Map([
  ["fedora33", "rhel8"],
  ["centos8-stream", "rhel8"],
]);

function byRules(policy: RulePolicy, systemd: string, onlining: RulePolicy = ONLINE): Policy {
  const { name, title } = policy;
  const rules = ruleSetOf([onlining, policy], parseDialect(systemd));
  return { name, title, rules, keeper: "nobody", needsCrashHotplug: false };
}

function byKeeper(name: string, title: string, keeper: Keeper): Policy {
  const rules = ruleSetOf([ONLINE], parseDialect("257"));
  return { name, title, rules, keeper, needsCrashHotplug: false };
}

/** Every policy, the RFC's own first, ours last. */
export const POLICIES: readonly Policy[] = [
  byKeeper("none", "nobody does anything", "nobody"),
  byRules(RHEL7, "219", ONLINE_RHEL7),
  byRules(RHEL8, "239", ONLINE_RHEL8),
  byRules(UBUNTU2004, "247"),
  byRules(DEBIAN, "257"),
  byRules(SUSE, "257"),
  {
    name: "kernel",
    title: "Linux 6.6 and newer: its own handler, one rewrite for each block",
    rules: ruleSetOf([ONLINE_RHEL8, RHEL_GUARDED], parseDialect("257")),
    keeper: "nobody",
    needsCrashHotplug: true,
  },
  byRules(RELOAD_OVER, "257"),
  byKeeper("re-arm", "re-arm from inside: kexec_load of the header alone", "re-arm"),
  byKeeper("in-place", "write the header in place, from outside", "in-place"),
];

/** All names, for help. */
export const POLICY_NAMES: readonly string[] = [...POLICIES.map(({ name }) => name), ...ALIASES.keys()];

/** The policy of that name or alias. @throws {SimulationError} which lists the names. */
export function policyOf(name: string): Policy {
  const wanted = ALIASES.get(name) ?? name;
  const policy = POLICIES.find((candidate) => candidate.name === wanted);
  if (policy) return policy;
  throw new SimulationError(
    `policy ${JSON.stringify(name)}`,
    `expected one of ${POLICY_NAMES.join(", ")}, or a directory of rules`,
  );
}

/** A policy of somebody's own rules. */
export function policyOfRules(name: string, rules: RuleSet): Policy {
  return { name, title: "rules that were given", rules, keeper: "nobody", needsCrashHotplug: false };
}
