/** What is evaluated by `udevadm test` and by us: policies, recordings, and rules of our own. */
import type { Action } from "../../src/rules/event.ts";
import { KDUMP_POLICIES, ONLINE_POLICIES } from "../../src/rules/policies/all.ts";
import { ONLINE, ONLINE_RHEL7, ONLINE_RHEL8 } from "../../src/rules/policies/onlining.ts";
import type { RulePolicy } from "../../src/rules/policies/policy.ts";
import { RHEL_GUARDED } from "../../src/rules/policies/rhel.ts";
import { SUSE } from "../../src/rules/policies/suse.ts";
import type { RuleSource } from "../../src/rules/source.ts";
import { RECORDINGS } from "../rules/udevadm-252.ts";
import type { Answers, DeviceState } from "./udevadm-guest.ts";
import { OWN_RULES } from "./udevadm-rules.ts";

/** What is evaluated, on both devices. */
export interface Subject {
  readonly name: string;
  readonly rules: readonly RuleSource[];
  readonly events: readonly (readonly [action: Action, state: DeviceState])[];
  readonly answers: Answers;
  /** Whether a capture kernel is loaded: 6.12 says so in crash_hotplug, every kernel in kexec_crash_loaded. */
  readonly loaded: boolean;
}

const ANSWERS: Answers = {
  "/usr/sbin/kdump-config": { exit: 0, stdout: "reloaded\n" },
  "/bin/uname": { exit: 0, stdout: "x86_64\n" },
  "/bin/systemd-detect-virt": { exit: 0, stdout: "qemu\n" },
};
const S390: Answers = { ...ANSWERS, "/bin/uname": { exit: 0, stdout: "s390x\n" } };
/** systemd-detect-virt says that there is nothing by its exit status too. */
const BARE_METAL: Answers = { ...ANSWERS, "/bin/systemd-detect-virt": { exit: 1, stdout: "none\n" } };
const MOVABLE: Answers = { ...ANSWERS, "/bin/systemd-detect-virt": { exit: 0, stdout: "none\n" } };
const RELOAD_FAILS: Answers = { ...ANSWERS, "/usr/sbin/kdump-config": { exit: 1, stdout: "no\n" } };

/** Every event that hot-plug has, and `change`, in the state in which the device then is. */
const EVENTS = [
  ["add", "offline"],
  ["online", "online"],
  ["change", "online"],
  ["offline", "offline"],
  ["remove", "offline"],
] as const;

function policies(chosen: readonly RulePolicy[], more: Partial<Subject> = {}): Subject {
  return {
    name: chosen.map(({ name }) => name).join(" + "),
    rules: chosen.map(({ fileName, text }) => ({ path: fileName, text })),
    events: EVENTS,
    answers: ANSWERS,
    loaded: true,
    ...more,
  };
}

/** Who brings memory online where the policy is at home; `online` where the distribution leaves it to nobody. */
const ONLINING: Readonly<Record<string, RulePolicy>> = {
  rhel7: ONLINE_RHEL7,
  rhel8: ONLINE_RHEL8,
  "rhel-guarded": ONLINE_RHEL8,
};

export const SUBJECTS: readonly Subject[] = [
  ...[...KDUMP_POLICIES, ...ONLINE_POLICIES].map((policy) => policies([policy])),
  // The two that ask.
  ...[RHEL_GUARDED, SUSE].map((policy) =>
    policies([policy], { name: `${policy.name}, nothing loaded`, loaded: false }),
  ),
  ...KDUMP_POLICIES.map((policy) => policies([ONLINING[policy.name] ?? ONLINE, policy])),
  ...ONLINE_POLICIES.map((policy) =>
    policies([policy], { name: `${policy.name}, online already`, events: [["add", "online"]] }),
  ),
  ...(
    [
      ["s390", S390],
      ["bare metal", BARE_METAL],
      ["no hypervisor named", MOVABLE],
    ] as const
  ).map(([name, answers]) =>
    policies([ONLINE_RHEL7], { name: `online-rhel7, ${name}`, answers, events: [["add", "offline"]] }),
  ),
  ...KDUMP_POLICIES.filter(({ command }) => command?.startsWith("/usr/sbin/kdump-config")).map((policy) =>
    policies([policy], {
      name: `${policy.name}, reload fails`,
      answers: RELOAD_FAILS,
      events: [["online", "online"]],
    }),
  ),
  ...RECORDINGS.map(({ name, rules }) => lines(`recording: ${name}`, rules)),
  ...Object.entries(OWN_RULES).map(([name, rules]) => lines(`own: ${name}`, rules)),
];

/** A rule that first writes an attribute and then reads it. */
export const READS_WHAT_IT_WROTE = "own: attributes written and read";

/** Lines that are the only rules, in the event of the recordings. */
function lines(name: string, rules: readonly string[]): Subject {
  const text = `${rules.join("\n")}\n`;
  return {
    name,
    rules: [{ path: "t.rules", text }],
    events: [["online", "online"]],
    answers: ANSWERS,
    loaded: true,
  };
}
