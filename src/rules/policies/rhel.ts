/** RHEL, Fedora, CentOS: 98-kexec.rules (kdump-utils). */
import type { RulePolicy } from "./policy.ts";

function kexecRules(command: string, guard = ""): string {
  return `# Keep the capture kernel's view of memory and CPUs up to date.
${guard}SUBSYSTEM=="cpu", ACTION=="add|remove", GOTO="kdump_reload"
SUBSYSTEM=="memory", ACTION=="online|offline", GOTO="kdump_reload"
GOTO="kdump_reload_end"

LABEL="kdump_reload"
RUN+="/bin/sh -c '/usr/bin/systemctl is-active kdump.service || exit 0; ${command}'"

LABEL="kdump_reload_end"
`;
}

const RELOAD = "/usr/bin/systemd-run --quiet /usr/bin/kdumpctl reload";
const THROTTLED = "/usr/bin/systemd-run --quiet --no-block /usr/lib/udev/kdump-udev-throttler";

/** A reload for each event; the shell in RUN hands it to PID 1 (the RFC quotes it). */
export const RHEL7: RulePolicy = {
  name: "rhel7",
  title: "RHEL 7: a reload for each event",
  fileName: "98-kexec.rules",
  text: kexecRules(RELOAD),
  command: RELOAD,
};

/** The throttler in between (kdump-utils 1c97aee, 2018). Fedora 33 and CentOS 8-stream have the same. */
export const RHEL8: RulePolicy = {
  name: "rhel8",
  title: "RHEL 8, Fedora 33, CentOS 8-stream: a throttled reload",
  fileName: "98-kexec.rules",
  text: kexecRules(THROTTLED),
  command: THROTTLED,
};

/** Nothing to do where the kernel updates the core header itself (kdump-utils 659e0aa). */
export const RHEL_GUARDED: RulePolicy = {
  name: "rhel-guarded",
  title: "RHEL and Fedora with crash_hotplug: throttled, unless the kernel does it",
  fileName: "98-kexec.rules",
  text: kexecRules(
    THROTTLED,
    `SUBSYSTEM=="cpu", ATTRS{crash_hotplug}=="1", GOTO="kdump_reload_end"
SUBSYSTEM=="memory", ATTRS{crash_hotplug}=="1", GOTO="kdump_reload_end"
`,
  ),
  command: THROTTLED,
};
