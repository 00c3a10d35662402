/** Debian and Ubuntu: 50-kdump-tools.rules. PROGRAM, so that udev's worker waits for each reload. */
import type { RulePolicy } from "./policy.ts";

const RELOAD = "/usr/sbin/kdump-config try-reload";

function kdumpToolsRules(cpuActions: string): string {
  return `# PROGRAM runs while rules are evaluated: one reload after another.
SUBSYSTEM=="memory", ACTION=="online|offline", PROGRAM="${RELOAD}"
SUBSYSTEM=="cpu", ACTION=="${cpuActions}", PROGRAM="${RELOAD}"
`;
}

/** As the RFC quotes it: a CPU that goes offline counts. */
export const UBUNTU2004: RulePolicy = {
  name: "ubuntu2004",
  title: "Ubuntu 20.04: a reload from PROGRAM for each event",
  fileName: "50-kdump-tools.rules",
  text: kdumpToolsRules("add|remove|offline"),
  command: RELOAD,
};

/** kdump-tools 1.6.8.4 and 1.10.7: a CPU that comes online counts, one that goes offline does not. */
export const DEBIAN: RulePolicy = {
  name: "debian",
  title: "Debian: a reload from PROGRAM for each event",
  fileName: "50-kdump-tools.rules",
  text: kdumpToolsRules("add|remove|online"),
  command: RELOAD,
};
