/** Who brings hot-added memory and CPUs online where the kernel does not. */
import type { RulePolicy } from "./policy.ts";

/** The plain way, for the lab and for distributions without a rule of their own. */
export const ONLINE: RulePolicy = {
  name: "online",
  title: "bring added memory and CPUs online",
  fileName: "40-online.rules",
  text: `SUBSYSTEM=="memory", ACTION=="add", ATTR{state}=="offline", ATTR{state}="online"
SUBSYSTEM=="cpu", ACTION=="add", TEST=="online", ATTR{online}=="0", ATTR{online}="1"
`,
  command: undefined,
};

/** RHEL 7's 40-redhat.rules: two programs for each block, to choose the zone. */
export const ONLINE_RHEL7: RulePolicy = {
  name: "online-rhel7",
  title: "RHEL 7: bring memory online, after two programs for each block",
  fileName: "40-redhat.rules",
  text: `SUBSYSTEM=="cpu", ACTION=="add", TEST=="online", ATTR{online}=="0", ATTR{online}="1"

SUBSYSTEM!="memory", GOTO="memory_online_end"
ACTION!="add", GOTO="memory_online_end"
PROGRAM="/bin/uname -p", RESULT=="s390*", GOTO="memory_online_end"
ENV{.state}="online"
PROGRAM="/bin/systemd-detect-virt", RESULT=="none", ENV{.state}="online_movable"
ATTR{state}=="offline", ATTR{state}="$env{.state}"
LABEL="memory_online_end"
`,
  command: undefined,
};

/** RHEL 8's (8.2 on): the same choice by constants, no program. */
export const ONLINE_RHEL8: RulePolicy = {
  name: "online-rhel8",
  title: "RHEL 8: bring memory online, no program needed",
  fileName: "40-redhat.rules",
  text: `SUBSYSTEM=="cpu", ACTION=="add", TEST=="online", ATTR{online}=="0", ATTR{online}="1"

SUBSYSTEM!="memory", GOTO="memory_online_end"
ACTION!="add", GOTO="memory_online_end"
CONST{arch}=="s390*|ppc64*", GOTO="memory_online_end"
ENV{.state}="online"
CONST{virt}=="none", ENV{.state}="online_movable"
ATTR{state}=="offline", ATTR{state}="$env{.state}"
LABEL="memory_online_end"
`,
  command: undefined,
};
