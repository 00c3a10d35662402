/** What is wrong for kdump in a set of rules. */
import { type Case, commandPlaces, eventNames, hotplugCases, isReload } from "./cases.ts";
import type { CrashHotplug } from "./device.ts";
import type { Diagnostic } from "./diagnostic.ts";
import { type CommandEffect, effectOf } from "./effect.ts";
import type { EvaluateOptions, RuleSet } from "./evaluate.ts";
import type { Place } from "./outcome.ts";
import { NOTHING_KNOWN, type World } from "./world.ts";

/** What can be wrong. */
export type FindingId =
  | "no-handling"
  | "memory-growth"
  | "memory-removal"
  | "cpu-growth"
  | "cpu-removal"
  | "reload-per-event"
  | "no-kernel-guard"
  | "guard-cannot-match"
  | "program-blocks-worker"
  | "cpu-online"
  | "memory-twice"
  | "latch"
  | "unload"
  | "syntax";

/** One finding. */
export interface Finding {
  readonly id: FindingId;
  readonly message: string;
  /** Lines that it is about; none where something is missing. */
  readonly places: readonly Place[];
}

/** What {@link checkRules} may be told. */
export interface CheckOptions extends EvaluateOptions {
  /** What the kernel says in crash_hotplug; any kernel where it is left out. */
  readonly crashHotplug?: CrashHotplug | undefined;
}

/**
 * Evaluates the rules on every hot-plug event of memory blocks and CPUs, on every kernel that is asked for, and says
 * what does not serve kdump.
 */
export function checkRules(rules: RuleSet, options: CheckOptions = {}): readonly Finding[] {
  const kernels: readonly CrashHotplug[] = options.crashHotplug
    ? [options.crashHotplug]
    : ["absent", "0", "1"];
  const cases = hotplugCases(rules, kernels, options);
  return [
    ...unhandled(cases),
    ...guards(rules, cases),
    ...reloads(cases),
    ...loadedTest(rules, cases, options),
    ...cpuOnline(cases),
    ...memoryTwice(cases),
    ...syntax(rules.files.flatMap(({ diagnostics }) => diagnostics)),
  ];
}

/** The change that each pair of events stands for, and what is lost where nobody handles it. */
const CHANGES = [
  {
    id: "memory-growth",
    kind: "memory",
    actions: ["add", "online"],
    message: "Nothing reloads kdump when memory comes online: a dump will lack it.",
  },
  {
    id: "memory-removal",
    kind: "memory",
    actions: ["offline", "remove"],
    message: "Nothing reloads kdump when memory goes: the core header then describes memory that is gone.",
  },
  {
    id: "cpu-growth",
    kind: "cpu",
    actions: ["add", "online"],
    message: "Nothing reloads kdump when a CPU is added: a dump will lack its registers.",
  },
  {
    id: "cpu-removal",
    kind: "cpu",
    actions: ["offline", "remove"],
    message:
      "Nothing reloads kdump when a CPU is removed: the core header then points to notes that are gone.",
  },
] as const;

/** Events that must be handled and are not, on kernels that do not update themselves. */
function unhandled(cases: readonly Case[]): readonly Finding[] {
  const needing = cases.filter(({ kernel }) => kernel !== "1");
  if (needing.length === 0) return [];
  if (!needing.some(isReload))
    return [
      { id: "no-handling", message: "Nothing reloads kdump when memory or CPUs come or go.", places: [] },
    ];
  return CHANGES.flatMap(({ id, kind, actions, message }) => {
    const concerned = needing.filter(
      (one) => one.kind === kind && actions.some((action) => action === one.action),
    );
    // Handled on some kernels only is a guard that goes wrong, see below.
    return concerned.some(isReload) ? [] : [{ id, message, places: [] }];
  });
}

/** Tests of crash_hotplug: missing, without effect, or shutting out kernels that do not have the attribute. */
function guards(rules: RuleSet, cases: readonly Case[]): readonly Finding[] {
  const findings: Finding[] = [];
  const places = guardPlaces(rules);
  const selfUpdating = cases.filter((one) => one.kernel === "1" && isReload(one));
  if (selfUpdating.length > 0) {
    const what = `reloads kdump on ${eventNames(selfUpdating)} although the kernel says that it updates the core header itself (crash_hotplug is 1)`;
    findings.push(
      places.length === 0
        ? {
            id: "no-kernel-guard",
            message: `No test of crash_hotplug: udev ${what}.`,
            places: commandPlaces(selfUpdating),
          }
        : {
            id: "guard-cannot-match",
            message: `The test of crash_hotplug has no effect: udev ${what}.`,
            places,
          },
    );
  }
  const lost = cases.filter(
    (one) =>
      one.kernel === "absent" &&
      !isReload(one) &&
      cases.some((other) => other.kernel === "0" && same(one, other) && isReload(other)),
  );
  if (lost.length > 0)
    findings.push({
      id: "guard-cannot-match",
      message: `On kernels without crash_hotplug (before 6.6) nothing reloads kdump on ${eventNames(lost)}: a match on an attribute that is not there is false with == and with !=.`,
      places,
    });
  return findings;
}

function same(one: Case, other: Case): boolean {
  return one.kind === other.kind && one.action === other.action;
}

function guardPlaces(rules: RuleSet): readonly Place[] {
  return rules.files.flatMap(({ lines }) =>
    lines
      .filter(({ tokens }) =>
        tokens.some(({ attribute, pattern }) => pattern && attribute?.includes("crash_hotplug")),
      )
      .map(({ path, number }) => ({ path, line: number })),
  );
}

/** How reloads are made: once per event, inside the worker, with a latch, or not at all. */
function reloads(cases: readonly Case[]): readonly Finding[] {
  const findings: Finding[] = [];
  const find = (
    id: FindingId,
    wanted: (command: CommandEffect) => boolean,
    message: (events: string) => string,
  ): void => {
    const concerned = cases.filter(({ effect }) => effect.commands.some(wanted));
    if (concerned.length === 0) return;
    findings.push({ id, message: message(eventNames(concerned)), places: commandPlaces(concerned, wanted) });
  };
  find(
    "reload-per-event",
    ({ effect }) => effect === "reload",
    (events) =>
      `Reloads kdump once for each event, without throttle, on ${events}: a DIMM of 1 GiB has 8 memory blocks of 128 MiB.`,
  );
  find(
    "program-blocks-worker",
    ({ by, detached }) => by === "PROGRAM" && !detached,
    (events) =>
      `PROGRAM makes udev's worker wait for the reload, on ${events}: reloads queue up behind each other, and workers are killed after 180 s.`,
  );
  find(
    "latch",
    ({ latches }) => latches,
    (events) =>
      `Reloads only where an image is loaded, on ${events}: after one load that failed, kdump stays off.`,
  );
  find(
    "unload",
    ({ effect }) => effect === "unload",
    (events) => `Unloads kdump on ${events} and does not load it again.`,
  );
  return findings;
}

/**
 * A rule that itself asks whether an image is loaded: openSUSE's, before it queues anything. The kernel says 0 while
 * it loads one, and after a load that failed over an unloaded image.
 */
function loadedTest(rules: RuleSet, cases: readonly Case[], options: CheckOptions): readonly Finding[] {
  const world = options.world ?? NOTHING_KNOWN;
  const saying = (stdout: string): World => ({
    ...world,
    program: (command) =>
      command.includes("kexec_crash_loaded") ? { exit: 0, stdout } : world.program(command),
  });
  const reloadsWhere = (one: Case, stdout: string): boolean =>
    isReload({
      effect: effectOf(rules, one.spec, { crashHotplug: one.kernel }, { ...options, world: saying(stdout) }),
    });
  const dropped = cases.filter((one) => reloadsWhere(one, "1\n") && !reloadsWhere(one, "0\n"));
  if (dropped.length === 0) return [];
  return [
    {
      id: "latch",
      message: `Drops ${eventNames(dropped)} where kexec_crash_loaded is 0, which it also is while an image is being loaded, and after a load that failed.`,
      places: commandPlaces(dropped),
    },
  ];
}

/** CPU notes exist from `add` to `remove`; going on- and offline in between changes nothing. */
function cpuOnline(cases: readonly Case[]): readonly Finding[] {
  const toggles = cases.filter(
    (one) => one.kind === "cpu" && (one.action === "online" || one.action === "offline") && isReload(one),
  );
  if (toggles.length === 0) return [];
  const handlesAdd = cases.some((one) => one.kind === "cpu" && one.action === "add" && isReload(one));
  const why = handlesAdd
    ? "once more for a CPU that was added, and for each CPU that is only switched"
    : "and not on add: a CPU that is present has its notes before it is online";
  return [
    {
      id: "cpu-online",
      message: `Reloads kdump on ${eventNames(toggles)}, ${why}.`,
      places: commandPlaces(toggles),
    },
  ];
}

/** A block that is added and onlined is reloaded for twice. */
function memoryTwice(cases: readonly Case[]): readonly Finding[] {
  const both = cases.filter(
    (one) =>
      one.kind === "memory" &&
      one.action === "add" &&
      isReload(one) &&
      cases.some(
        (other) =>
          other.kind === "memory" &&
          other.action === "online" &&
          other.kernel === one.kernel &&
          isReload(other),
      ),
  );
  if (both.length === 0) return [];
  return [
    {
      id: "memory-twice",
      message: "Reloads kdump on add and on online of memory: twice for each block that is plugged in.",
      places: commandPlaces(both),
    },
  ];
}

function syntax(diagnostics: readonly Diagnostic[]): readonly Finding[] {
  return diagnostics
    .filter(({ severity }) => severity !== "style")
    .map(({ path, line, message }) => ({ id: "syntax", message, places: [{ path, line }] }));
}
