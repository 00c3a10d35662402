/** openSUSE: 70-kdump.rules, copied to /run/udev/rules.d after the first load. */
import type { RulePolicy } from "./policy.ts";

const RELOAD = "/usr/lib/kdump/load-once.sh";

/**
 * Memory at add and remove, not at online; no CPUs on x86. Asks whether an image is loaded before it queues anything,
 * and leaves it to a kernel that updates itself (6859c6c, 36819ca).
 */
export const SUSE: RulePolicy = {
  name: "suse",
  title: "openSUSE: one reload at a time, again while events came in",
  fileName: "70-kdump.rules",
  text: `SUBSYSTEM=="memory", ATTRS{crash_hotplug}=="1", GOTO="kdump_end"
SUBSYSTEM=="cpu", ATTRS{crash_hotplug}=="1", GOTO="kdump_end"
SUBSYSTEM=="memory", ACTION=="add|remove", PROGRAM="/bin/cat /sys/kernel/kexec_crash_loaded", RESULT!="0", RUN+="${RELOAD}"
LABEL="kdump_end"
`,
  command: RELOAD,
};
