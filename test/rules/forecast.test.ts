import { describe, expect, test } from "vitest";
import { dialectOf } from "../../src/rules/dialect.ts";
import { RuleSet } from "../../src/rules/evaluate.ts";
import { exposuresOf, type Surroundings } from "../../src/rules/exposure.ts";
import {
  type EventForecast,
  forecastEvents,
  type HotplugDevice,
  type Situation,
} from "../../src/rules/forecast.ts";
import { findOwnRules, isOwnRule } from "../../src/rules/own-rule.ts";
import { DEBIAN } from "../../src/rules/policies/debian.ts";
import { ONLINE_RHEL7 } from "../../src/rules/policies/onlining.ts";
import { type RulePolicy, ruleSetOf } from "../../src/rules/policies/policy.ts";
import { RELOAD_OVER } from "../../src/rules/policies/reload-over.ts";
import { RHEL7, RHEL8, RHEL_GUARDED } from "../../src/rules/policies/rhel.ts";
import { SUSE } from "../../src/rules/policies/suse.ts";
import type { RuleSource } from "../../src/rules/source.ts";
import { NOTHING_KNOWN } from "../../src/rules/world.ts";

const DEVICES: readonly HotplugDevice[] = [
  { kind: "memory", name: "memory7", isPresent: true, attributes: {}, variables: {} },
  { kind: "cpu", name: "cpu5", isPresent: true, attributes: {}, variables: {} },
];

const LOADED: Situation = {
  crashLoaded: true,
  crashHotplug: { memory: "absent", cpu: "absent" },
  kernel: {},
  isActive: () => true,
  world: {
    ...NOTHING_KNOWN,
    program: (command) => (command.endsWith("kexec_crash_loaded") ? { exit: 0, stdout: "1\n" } : undefined),
  },
};
const SELF_UPDATING: Situation = { ...LOADED, crashHotplug: { memory: "1", cpu: "1" } };

const DIALECT = dialectOf(257);

function forecasts(
  policies: readonly RulePolicy[],
  situation: Partial<Situation> = {},
): readonly EventForecast[] {
  return forecastEvents(ruleSetOf(policies, DIALECT), DEVICES, { ...LOADED, ...situation });
}

function ofText(text: string, situation: Partial<Situation> = {}): readonly EventForecast[] {
  const rules = RuleSet.parse([{ path: "t.rules", text }], DIALECT);
  return forecastEvents(rules, DEVICES, { ...LOADED, ...situation });
}

/** `memory7 online: reload` for every event at which something is done or skipped. */
function acting(events: readonly EventForecast[]): readonly string[] {
  return events.flatMap(({ device, action, effect }) =>
    effect.kind === "nothing" ? [] : [`${device.name} ${action}: ${effect.kind}`],
  );
}

/** By change: `reload each 1, until-loaded`. */
function exposures(
  policies: readonly RulePolicy[],
  situation: Partial<Situation>,
  surroundings: Surroundings,
): Readonly<Record<string, string>> {
  return Object.fromEntries(
    exposuresOf(forecasts(policies, situation), surroundings).map(
      ({ change, blind, repeats, times, stale }) => [change, `${blind} ${repeats} ${times}, ${stale}`],
    ),
  );
}

/** A policy's rules where its distribution has them. */
function source({ fileName, text }: RulePolicy): RuleSource {
  return { path: `/usr/lib/udev/rules.d/${fileName}`, text };
}

describe("the next events", () => {
  const throttled = ["memory7 online", "memory7 offline", "cpu5 add", "cpu5 remove"];
  test.each<readonly [string, readonly RulePolicy[], Partial<Situation>, readonly string[]]>([
    ["nothing is installed", [], {}, []],
    ["RHEL 7", [RHEL7], {}, throttled.map((event) => `${event}: reload`)],
    ["RHEL 8", [RHEL8], {}, throttled.map((event) => `${event}: throttled-reload`)],
    [
      "RHEL's guarded rules, an old kernel",
      [RHEL_GUARDED],
      {},
      throttled.map((e) => `${e}: throttled-reload`),
    ],
    [
      "Debian",
      [DEBIAN],
      {},
      ["memory7 online", "memory7 offline", "cpu5 add", "cpu5 online", "cpu5 remove"].map(
        (e) => `${e}: reload`,
      ),
    ],
    ["openSUSE", [SUSE], {}, ["memory7 add: coalesced-reload", "memory7 remove: coalesced-reload"]],
    ["ours over the loaded image", [RELOAD_OVER], {}, throttled.map((event) => `${event}: coalesced-reload`)],
  ])("%s", (_name, policies, situation, wanted) => {
    expect(acting(forecasts(policies, situation))).toEqual(wanted);
  });

  test("rules that leave it to the kernel say by which line", () => {
    const events = forecasts([RHEL_GUARDED], SELF_UPDATING);
    const online = events.find(({ action }) => action === "online");
    expect(online?.effect.kind).toBe("skipped");
    expect(online?.guards).toEqual([{ path: "/usr/lib/udev/rules.d/98-kexec.rules", line: 3 }]);
    expect(events.every(({ effect }) => effect.commands.length === 0)).toBe(true);
  });

  test("Debian's reload although the kernel says that it updates itself", () => {
    expect(acting(forecasts([DEBIAN], SELF_UPDATING))).toHaveLength(5);
  });

  test("what asks for something that is loaded does nothing while nothing is", () => {
    const events = forecasts([DEBIAN], { crashLoaded: false });
    expect(acting(events)).toEqual([]);
    expect(events.find(({ action }) => action === "online")?.stopped).toMatchObject([
      { program: "kdump-config", why: "not-loaded", line: 2 },
    ]);
    // RHEL's loads then.
    expect(acting(forecasts([RHEL8], { crashLoaded: false }))).toHaveLength(4);
  });

  test("what asks for a service that is not active does nothing, and is doubted where that is not known", () => {
    const asked: string[] = [];
    const isActive = (unit: string): boolean => {
      asked.push(unit);
      return false;
    };
    const events = forecasts([RHEL7], { isActive });
    expect(acting(events)).toEqual([]);
    expect(new Set(asked)).toEqual(new Set(["kdump.service"]));
    expect(events.flatMap(({ stopped }) => stopped.map(({ why }) => why))).toEqual(Array(4).fill("inactive"));
    const doubted = forecasts([RHEL7], { isActive: () => undefined });
    expect(acting(doubted)).toHaveLength(4);
    expect(doubted[1]?.dependsOn).toEqual(["kdump.service"]);
  });

  test("programs that nobody knows are named, and harmless ones are not", () => {
    const own = ofText('SUBSYSTEM=="memory", ACTION=="online", RUN+="/opt/reload-mine --now"');
    expect(own.find(({ action }) => action === "online")?.others).toEqual([
      { by: "RUN", command: "/opt/reload-mine --now", path: "t.rules", line: 1 },
    ]);
    expect(forecasts([ONLINE_RHEL7, RHEL7]).flatMap(({ others }) => others)).toEqual([]);
  });

  test("what was assumed is told, but not that a reload succeeds", () => {
    expect(forecasts([DEBIAN]).flatMap(({ assumptions }) => assumptions)).toEqual([]);
    const [first] = ofText('PROGRAM="/opt/ask", RESULT=="7", RUN+="kdumpctl reload"');
    expect(first?.assumptions).toEqual([
      { path: "t.rules", line: 1, text: "/opt/ask succeeds and prints nothing" },
    ]);
  });

  test("a device's own attributes and variables are seen, and a block that is gone has none", () => {
    const rules = RuleSet.parse(
      [{ path: "t.rules", text: 'ATTR{removable}=="0", ENV{MODALIAS}=="cpu:mine", RUN+="kexec -p x"' }],
      DIALECT,
    );
    const own = {
      ...DEVICES[0]!,
      attributes: { removable: "0", none: "0" },
      variables: { MODALIAS: "cpu:mine" },
    };
    expect(acting(forecastEvents(rules, [own], LOADED))).toEqual([
      "memory7 add: reload",
      "memory7 online: reload",
      "memory7 offline: reload",
    ]);
  });
});

describe("how long", () => {
  const OLD: Surroundings = {
    crashLoaded: true,
    kernelUpdates: { memory: false, cpu: false },
    describesAllCpus: false,
  };
  const NEW: Surroundings = { ...OLD, kernelUpdates: { memory: true, cpu: true }, describesAllCpus: true };

  test("nobody does anything: never blind, stale for good", () => {
    expect(new Set(Object.values(exposures([], {}, OLD)))).toEqual(new Set(["no each 1, for-good"]));
  });

  test("RHEL 7 is blind for each event, RHEL 8 once and stale before", () => {
    expect(exposures([RHEL7], {}, OLD)["memory-added"]).toBe("reload each 1, until-loaded");
    expect(exposures([RHEL8], {}, OLD)["memory-added"]).toBe("reload settled 1, until-settled-and-loaded");
  });

  test("Debian reloads twice for a CPU that comes", () => {
    expect(exposures([DEBIAN], {}, OLD)).toEqual({
      "memory-added": "reload each 1, until-loaded",
      "memory-removed": "reload each 1, until-loaded",
      "cpu-added": "reload each 2, until-loaded",
      "cpu-removed": "reload each 1, until-loaded",
    });
  });

  test("openSUSE loads over the image, and forgets CPUs", () => {
    expect(exposures([SUSE], {}, OLD)).toMatchObject({
      "memory-added": "load-over coalesced 1, until-loaded",
      "cpu-added": "no each 1, for-good",
    });
  });

  test("a kernel that updates itself holds the lock for each, and leaves what was removed", () => {
    expect(exposures([RHEL_GUARDED], SELF_UPDATING, NEW)).toEqual({
      "memory-added": "kernel-rewrite each 1, no",
      "memory-removed": "kernel-rewrite each 1, until-next-event",
      "cpu-added": "kernel-rewrite each 1, no",
      "cpu-removed": "kernel-rewrite each 1, no",
    });
    // Reloaded all the same: the header is true, and nothing is loaded for a while.
    expect(exposures([DEBIAN], SELF_UPDATING, NEW)["memory-added"]).toBe("reload each 1, no");
  });

  test("nothing is loaded: blind already, until something loads", () => {
    const nothing = { ...OLD, crashLoaded: false };
    expect(exposures([DEBIAN], { crashLoaded: false }, nothing)["memory-added"]).toBe("unloaded each 1, no");
    expect(exposures([RHEL8], { crashLoaded: false }, nothing)["memory-added"]).toBe("reload settled 1, no");
  });

  test("rules that unload leave nothing", () => {
    const events = ofText('SUBSYSTEM=="memory", ACTION=="online", RUN+="/sbin/kexec -p -u"');
    expect(exposuresOf(events, OLD)[0]).toMatchObject({ blind: "unloaded", stale: "no", loads: false });
  });

  test("a header with all CPUs is not made untrue by one of them", () => {
    expect(exposures([], {}, { ...OLD, describesAllCpus: true })["cpu-added"]).toBe("no each 1, no");
  });
});

describe("kdump-hotplug's own rules", () => {
  const OWN: RuleSource = {
    path: "/etc/udev/rules.d/98-kexec.rules",
    text: "# kdump-hotplug keeps it true\n",
  };
  test("are known by their name or a comment", () => {
    expect(isOwnRule(OWN)).toBe(true);
    expect(isOwnRule({ path: "/run/udev/rules.d/10-kdump-hotplug.rules", text: "" })).toBe(true);
    expect(isOwnRule(source(RHEL8))).toBe(false);
    // A program of ours in somebody's rules, and our name in the path of a copy.
    expect(isOwnRule(source(RELOAD_OVER))).toBe(false);
    expect(isOwnRule({ path: "/srv/kdump-hotplug/usr/lib/x.rules", text: "" })).toBe(false);
  });

  test("are in force where nothing else reloads", () => {
    expect(findOwnRules([OWN], [{ ...source(RHEL8), by: OWN.path }], forecasts([]))).toEqual({
      installed: [OWN.path],
      conflicts: [],
    });
  });

  test("are undone by rules that reload all the same", () => {
    const { conflicts } = findOwnRules([source(DEBIAN), OWN], [], forecasts([DEBIAN]));
    expect(conflicts).toEqual([
      "kdump-hotplug's own /etc/udev/rules.d/98-kexec.rules is undone by /usr/lib/udev/rules.d/50-kdump-tools.rules:2, which still calls kdump-config at memory7 online, memory7 offline",
      "kdump-hotplug's own /etc/udev/rules.d/98-kexec.rules is undone by /usr/lib/udev/rules.d/50-kdump-tools.rules:3, which still calls kdump-config at cpu5 add, cpu5 online, cpu5 remove",
    ]);
  });

  test("are undone by a file of their name in a directory of higher priority", () => {
    const hidden = {
      ...OWN,
      path: "/run/udev/rules.d/98-kexec.rules",
      by: "/etc/udev/rules.d/98-kexec.rules",
    };
    expect(findOwnRules([source(RHEL8)], [hidden], forecasts([RHEL8])).conflicts).toEqual([
      "udev does not read kdump-hotplug's own /run/udev/rules.d/98-kexec.rules: /etc/udev/rules.d/98-kexec.rules has its name, in a directory of higher priority",
    ]);
  });

  test("may themselves load", () => {
    const own = { path: "/usr/lib/udev/rules.d/98-kdump-load-over.rules", text: `# kdump-hotplug\n` };
    expect(findOwnRules([own], [], forecasts([RELOAD_OVER])).conflicts).toEqual([]);
  });
});
