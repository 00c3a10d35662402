import { describe, expect, test } from "vitest";
import type { CrashHotplug } from "../../src/rules/device.ts";
import { dialectOf } from "../../src/rules/dialect.ts";
import { describeEffect, effectOf } from "../../src/rules/effect.ts";
import { RuleSet } from "../../src/rules/evaluate.ts";
import { parseEventSpec } from "../../src/rules/event.ts";
import { checkRules, type Finding } from "../../src/rules/findings.ts";
import { recognise, unitAskedBy } from "../../src/rules/kdump-command.ts";
import { KDUMP_POLICIES, ONLINE_POLICIES } from "../../src/rules/policies/all.ts";
import { DEBIAN, UBUNTU2004 } from "../../src/rules/policies/debian.ts";
import { ONLINE, ONLINE_RHEL7, ONLINE_RHEL8 } from "../../src/rules/policies/onlining.ts";
import type { RulePolicy } from "../../src/rules/policies/policy.ts";
import { RELOAD_OVER } from "../../src/rules/policies/reload-over.ts";
import { RHEL7, RHEL8, RHEL_GUARDED } from "../../src/rules/policies/rhel.ts";
import { SUSE } from "../../src/rules/policies/suse.ts";
import { verifyRules } from "../../src/rules/verify.ts";
import { NOTHING_KNOWN, worldOfPrograms } from "../../src/rules/world.ts";
import { eventOf, ruleSet } from "./samples.ts";

function setOf({ fileName, text }: RulePolicy, version: 219 | 239 | 257 = 257): RuleSet {
  return RuleSet.parse([{ path: fileName, text }], dialectOf(version));
}

function kind(rules: RuleSet, event: string, crashHotplug: CrashHotplug = "absent"): string {
  return effectOf(rules, parseEventSpec(event), { crashHotplug }).kind;
}

function ids(rules: RuleSet, crashHotplug?: CrashHotplug): readonly string[] {
  return checkRules(rules, { crashHotplug }).map(({ id }) => id);
}

const programs = (policy: RulePolicy): number =>
  setOf(policy, 219)
    .evaluate(eventOf("add:memory40"))
    .actions.filter(({ kind: what }) => what === "program").length;

const blocks = (policy: RulePolicy, event: string): string =>
  effectOf(setOf(policy), parseEventSpec(event), { crashHotplug: "absent" }).blocksWorker;

describe("recognise", () => {
  test.each([
    ["/usr/bin/kdumpctl reload", { effect: "reload", latches: false, detached: false, unloadsFirst: true }],
    ["/bin/sh -c 'systemd-run --quiet /usr/bin/kdumpctl reload'", { effect: "reload", detached: true }],
    [
      "systemd-run --no-block /usr/lib/udev/kdump-udev-throttler",
      { effect: "throttled-reload", detached: true },
    ],
    ["/usr/lib/udev/kdump-udev-throttle", { effect: "throttled-reload", detached: false }],
    ["/usr/sbin/kdump-config try-reload", { effect: "reload", latches: true }],
    ["/usr/sbin/kdump-config unload", { effect: "unload" }],
    ["/usr/lib/kdump/load-once.sh", { effect: "coalesced-reload", unloadsFirst: false }],
    ["systemctl try-restart kdump.service", { effect: "reload" }],
    ["/bin/systemctl --no-block restart kdump-tools", { effect: "reload" }],
    ["kexec -s -p /boot/vmlinuz --initrd=x", { effect: "reload" }],
    ["kexec --load-panic /boot/vmlinuz", { effect: "reload", unloadsFirst: false }],
    ["kexec -p -u", { effect: "unload", unloadsFirst: false }],
  ])("knows %s", (command, wanted) => {
    expect(recognise(command)).toMatchObject(wanted);
  });

  test.each([
    "/bin/true",
    "/usr/bin/systemctl is-active kdump.service",
    "cat /sys/kernel/kexec_crash_loaded",
    "kexec -l x",
  ])("does not take %s for a reload", (command) => {
    expect(recognise(command)).toBeUndefined();
  });
});

test.each([
  ["/bin/sh -c '/usr/bin/systemctl is-active kdump.service || exit 0; kdumpctl reload'", "kdump.service"],
  ["sh -c 'systemctl -q is-active --quiet kdump && kdumpctl reload'", "kdump.service"],
  ["systemctl restart kdump.service", undefined],
  ["/usr/bin/kdumpctl reload", undefined],
])("%s asks for the unit %s", (command, unit) => {
  expect(unitAskedBy(command)).toBe(unit);
});

describe("our versions of the distributions' rules", () => {
  /** What each event does on a kernel without crash_hotplug, then on one where it is 1. */
  test.each([
    [RHEL7, "online:memory40", "reload", "reload"],
    [RHEL7, "offline:memory40", "reload", "reload"],
    [RHEL7, "add:memory40", "nothing", "nothing"],
    [RHEL7, "add:cpu3", "reload", "reload"],
    [RHEL7, "online:cpu3", "nothing", "nothing"],
    [RHEL8, "online:memory40", "throttled-reload", "throttled-reload"],
    [RHEL8, "remove:cpu3", "throttled-reload", "throttled-reload"],
    [RHEL_GUARDED, "online:memory40", "throttled-reload", "skipped"],
    [RHEL_GUARDED, "remove:cpu3", "throttled-reload", "skipped"],
    [RHEL_GUARDED, "add:memory40", "nothing", "nothing"],
    [UBUNTU2004, "offline:cpu3", "reload", "reload"],
    [UBUNTU2004, "online:cpu3", "nothing", "nothing"],
    [DEBIAN, "online:cpu3", "reload", "reload"],
    [DEBIAN, "offline:cpu3", "nothing", "nothing"],
    [SUSE, "add:memory40", "coalesced-reload", "skipped"],
    [SUSE, "online:memory40", "nothing", "nothing"],
    [SUSE, "add:cpu3", "nothing", "nothing"],
    [RELOAD_OVER, "online:memory40", "coalesced-reload", "coalesced-reload"],
    [RELOAD_OVER, "add:memory40", "nothing", "nothing"],
    [RELOAD_OVER, "remove:cpu3", "coalesced-reload", "coalesced-reload"],
  ] as const)("$name on %s", (policy, event, old, updating) => {
    for (const version of [219, 239, 257] as const) {
      expect(kind(setOf(policy, version), event)).toBe(old);
      expect(kind(setOf(policy, version), event, "1")).toBe(updating);
      expect(kind(setOf(policy, version), event, "0")).toBe(old);
    }
  });

  test.each([...KDUMP_POLICIES, ...ONLINE_POLICIES])(
    "$name: has nothing that udevadm verify would mind",
    (policy) => {
      const [file] = setOf(policy).files;
      expect([...file!.diagnostics, ...verifyRules(file!)]).toEqual([]);
      expect(policy.command === undefined || policy.text.includes(policy.command)).toBe(true);
    },
  );

  test.each([ONLINE, ONLINE_RHEL8])(
    "$name: brings added memory online, and leaves other events alone",
    (policy) => {
      const rules = setOf(policy);
      expect(rules.evaluate(eventOf("add:memory40")).actions).toContainEqual(
        expect.objectContaining({
          kind: "attribute",
          file: "/sys/devices/system/memory/memory40/state",
          value: "online",
        }),
      );
      expect(rules.evaluate(eventOf("online:memory40")).actions).toEqual([]);
      expect(rules.evaluate(eventOf("add:cpu3")).actions).toContainEqual(
        expect.objectContaining({ file: "/sys/devices/system/cpu/cpu3/online", value: "1" }),
      );
      expect(rules.evaluate(eventOf("add:cpu0")).actions).toEqual([]);
    },
  );

  test("RHEL 7 asks two programs for each added block, RHEL 8 none", () => {
    expect(programs(ONLINE_RHEL7)).toBe(2);
    expect(programs(ONLINE_RHEL8)).toBe(0);
  });

  test("RHEL onlines memory of bare metal as movable", () => {
    const world = worldOfPrograms(new Map([["systemd-detect-virt", { exit: 0, stdout: "none\n" }]]), {
      ...NOTHING_KNOWN,
      constant: (name) => (name === "virt" ? "none" : undefined),
    });
    for (const policy of [ONLINE_RHEL7, ONLINE_RHEL8]) {
      const { actions } = setOf(policy, 239).evaluate(eventOf("add:memory40"), { world });
      expect(actions.at(-1)).toMatchObject({ kind: "attribute", value: "online_movable" });
    }
  });
});

describe("effectOf", () => {
  test("says where the worker waits", () => {
    expect(blocks(DEBIAN, "online:memory40")).toBe("in-rules");
    expect(blocks(SUSE, "add:memory40")).toBe("in-run");
    expect(blocks(RHEL8, "online:memory40")).toBe("no");
  });

  test("puts it into words", () => {
    const effect = effectOf(setOf(DEBIAN), parseEventSpec("online:memory40"), { crashHotplug: "absent" });
    expect(describeEffect(effect).join(" ")).toMatch(
      /once for each.*waits for it while it evaluates.*kdump stays off/,
    );
  });

  test("takes the costliest of several", () => {
    expect(kind(ruleSet('RUN+="kdump-udev-throttler"\nRUN+="kdumpctl reload"'), "online:memory40")).toBe(
      "reload",
    );
  });
});

describe("checkRules", () => {
  test.each([
    [RHEL7, ["no-kernel-guard", "reload-per-event"]],
    [RHEL8, ["no-kernel-guard"]],
    [RHEL_GUARDED, []],
    [UBUNTU2004, ["no-kernel-guard", "reload-per-event", "program-blocks-worker", "latch", "cpu-online"]],
    [DEBIAN, ["no-kernel-guard", "reload-per-event", "program-blocks-worker", "latch", "cpu-online"]],
    [SUSE, ["cpu-growth", "cpu-removal", "latch"]],
    [ONLINE, ["no-handling"]],
  ] as const)("$name", (policy, wanted) => {
    expect(ids(setOf(policy))).toEqual(wanted);
  });

  test("asks for no handling on a kernel that updates itself", () => {
    expect(ids(setOf(ONLINE), "1")).toEqual([]);
    expect(ids(setOf(ONLINE), "0")).toEqual(["no-handling"]);
    expect(ids(setOf(RHEL8), "absent")).toEqual([]);
    expect(ids(setOf(RHEL8), "1")).toEqual(["no-kernel-guard"]);
  });

  const RELOAD = 'SUBSYSTEM=="memory|cpu", ACTION=="add|remove", RUN+="systemd-run kdump-udev-throttler"';

  test("finds a guard that shuts out kernels without the attribute", () => {
    const rules = ruleSet(`ATTRS{crash_hotplug}!="1", ${RELOAD}`);
    expect(ids(rules)).toEqual(["no-handling", "guard-cannot-match"].slice(1));
    expect(ids(rules, "absent")).toEqual(["no-handling"]);
    const [finding] = checkRules(rules);
    expect(finding!.message).toContain("false with == and with !=");
    expect(finding!.places).toEqual([{ path: "t.rules", line: 1 }]);
  });

  test("finds a guard that looks at the block itself, which never has the attribute", () => {
    const rules = ruleSet(`ATTR{crash_hotplug}=="1", GOTO="end"\n${RELOAD}\nLABEL="end"`);
    expect(ids(rules)).toEqual(["guard-cannot-match"]);
    expect(checkRules(rules)[0]!.message).toContain("has no effect");
  });

  test("finds changes that nobody handles", () => {
    expect(
      ids(ruleSet('SUBSYSTEM=="memory", ACTION=="online", ATTRS{crash_hotplug}!="x", RUN+="x"')),
    ).toEqual(["no-handling"]);
    const some = ruleSet(
      'ATTRS{crash_hotplug}=="1", GOTO="e"\nSUBSYSTEM=="memory", ACTION=="online", RUN+="systemd-run kdump-udev-throttler"\nLABEL="e"',
    );
    expect(ids(some)).toEqual(["memory-removal", "cpu-growth", "cpu-removal"]);
  });

  test("finds reloads on add and on online of memory, and CPUs handled at online alone", () => {
    const both = ruleSet('SUBSYSTEM=="memory", RUN+="systemd-run kdump-udev-throttler"', 257);
    expect(ids(both, "absent")).toEqual(["cpu-growth", "cpu-removal", "memory-twice"]);
    const online = ruleSet(
      'SUBSYSTEM=="cpu", ACTION=="online|offline", RUN+="systemd-run kdump-udev-throttler"',
    );
    const finding = checkRules(online, { crashHotplug: "absent" }).find(({ id }) => id === "cpu-online");
    expect(finding!.message).toContain("and not on add");
  });

  test("finds what leaves nothing loaded", () => {
    expect(ids(ruleSet('SUBSYSTEM=="memory", ACTION=="remove", RUN+="kdumpctl stop"'), "absent")).toContain(
      "unload",
    );
  });

  test("says what udev says of the syntax, with its place", () => {
    const findings: readonly Finding[] = checkRules(ruleSet('FOO="1"\nGOTO="x"'), { crashHotplug: "1" });
    expect(findings.map(({ id, places }) => [id, places[0]!.line])).toEqual([
      ["syntax", 1],
      ["syntax", 2],
      ["syntax", 2],
    ]);
  });
});
