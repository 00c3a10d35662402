/** Every policy, by name. */
import { DEBIAN, UBUNTU2004 } from "./debian.ts";
import { ONLINE, ONLINE_RHEL7, ONLINE_RHEL8 } from "./onlining.ts";
import type { RulePolicy } from "./policy.ts";
import { RELOAD_OVER } from "./reload-over.ts";
import { RHEL7, RHEL8, RHEL_GUARDED } from "./rhel.ts";
import { SUSE } from "./suse.ts";

/** Policies that keep kdump up to date. */
export const KDUMP_POLICIES: readonly RulePolicy[] = [
  RHEL7,
  RHEL8,
  RHEL_GUARDED,
  UBUNTU2004,
  DEBIAN,
  SUSE,
  RELOAD_OVER,
];

/** Policies that bring memory and CPUs online. */
export const ONLINE_POLICIES: readonly RulePolicy[] = [ONLINE, ONLINE_RHEL7, ONLINE_RHEL8];
