/** The ways of keeping kdump accurate that the lab can run in a real guest. */
import type { Verdict } from "../../keeper/audit.ts";
import { DEBIAN } from "../../rules/policies/debian.ts";
import { ONLINE } from "../../rules/policies/onlining.ts";
import type { RulePolicy } from "../../rules/policies/policy.ts";
import { RELOAD_OVER } from "../../rules/policies/reload-over.ts";
import { RHEL7, RHEL8 } from "../../rules/policies/rhel.ts";

/** A policy, as named on the command line. */
export type LabPolicyName = "none" | "rhel7" | "rhel8" | "debian" | "reload-over" | "in-place" | "kernel";

/** What a policy puts into a guest, and what it promises. */
export interface LabPolicy {
  readonly name: LabPolicyName;
  /** For people. */
  readonly title: string;
  /** Who brings memory online is the same for all: differences are the policy's own. */
  readonly rules: readonly RulePolicy[];
  /** Whether we keep the header true from outside. */
  readonly keeper: boolean;
  /** Whether the guest's own kernel has to do it (`crash_hotplug`). */
  readonly needsKernel: boolean;
  /** What an audit says once all has come to rest, on a kernel that does not update its header itself. */
  readonly promise: Verdict;
}

function byRules(name: LabPolicyName, policy: RulePolicy): LabPolicy {
  const rules = [ONLINE, policy];
  return { name, title: policy.title, rules, keeper: false, needsKernel: false, promise: "accurate" };
}

const ALONE = { rules: [ONLINE], keeper: false, needsKernel: false } as const;

/** Every policy, in the order of a report. */
export const LAB_POLICIES: readonly LabPolicy[] = [
  { ...ALONE, name: "none", title: "nobody keeps kdump up to date", promise: "inaccurate" },
  byRules("rhel7", RHEL7),
  byRules("rhel8", RHEL8),
  byRules("debian", DEBIAN),
  byRules("reload-over", RELOAD_OVER),
  { ...ALONE, name: "kernel", title: "the kernel itself (6.6+)", needsKernel: true, promise: "accurate" },
  { ...ALONE, name: "in-place", title: "we, from outside", keeper: true, promise: "accurate" },
];

/** The policy of that name. */
export function labPolicy(name: LabPolicyName): LabPolicy {
  return LAB_POLICIES.find((policy) => policy.name === name)!;
}
