/** What the installed rules, service and kernel would do to kdump on the next event, for people and for programs. */
import { formatBytes } from "../layout/range.ts";
import { formatDiagnostic } from "../rules/diagnostic.ts";
import { describeEffect } from "../rules/effect.ts";
import type { EventForecast } from "../rules/forecast.ts";
import type { KdumpService } from "../targets/local/kdump-service.ts";
import type { LocalPolicy } from "../targets/local/policy.ts";
import { CHANGE_NAMES, costText, exposureText } from "./exposure.ts";
import { jsonBytes } from "./json.ts";
import { columns, printable } from "./text.ts";

/** `audit local --policy`, behind the audit. */
export function policyText(policy: LocalPolicy): string {
  const changes = policy.exposures.map(
    (exposure) => [CHANGE_NAMES[exposure.change], exposureText(exposure, policy)] as const,
  );
  return [
    "\nOn the next event, by the rules, the service and the kernel that are installed (nothing was tried):\n",
    columns(subjectRows(policy), "  "),
    ...groups(policy.forecasts).map(groupText),
    "\nA panic then:\n",
    columns([...changes, ["one load", costText(policy.cost)]], "  "),
    list("conflict", policy.ownRules.conflicts),
    list("not understood", policy.notUnderstood.map(formatDiagnostic)),
    list("not read", policy.unread),
    list("note", notesOf(policy)),
  ].join("");
}

function list(what: string, lines: readonly string[]): string {
  return lines.map((line) => `  ${what}: ${printable(line)}\n`).join("");
}

function subjectRows(policy: LocalPolicy): readonly (readonly [string, string])[] {
  const { udev, directories, services, devices, blockSize, ownRules } = policy;
  const files = policy.sources.length;
  const read = udev.version === udev.dialect.version ? "" : `, read as ${udev.dialect.version}`;
  const version =
    udev.version === undefined
      ? `version not known, read as systemd ${udev.dialect.version}`
      : `systemd ${udev.version} (${printable(udev.source ?? "")})${read}`;
  const counted =
    files === 0 ? `no rules in ${directories.join(", ")}` : `${files} file${files === 1 ? "" : "s"} of rules`;
  const rows: (readonly [string, string])[] = [
    ["udev", `${version}; ${counted}`],
    ["kdump service", services.length === 0 ? "none was found" : services.map(serviceText).join("; ")],
    ["kernel", kernelText(policy)],
    [
      "taken for",
      devices
        .map(
          ({ name, isPresent }) => `${name}${isPresent ? "" : " (not there: what such a device usually is)"}`,
        )
        .join(" and ") + (blockSize === undefined ? "" : `, memory blocks of ${formatBytes(blockSize)}`),
    ],
  ];
  if (ownRules.installed.length > 0)
    rows.push(["kdump-hotplug's rule", ownRules.installed.map(printable).join(", ")]);
  return rows;
}

function serviceText({ unit, isMasked, isEnabled, isActive }: KdumpService): string {
  if (isMasked) return `${unit}: masked`;
  const active = { true: "active", false: "not active", undefined: "active or not is not known" };
  return `${unit}: ${isEnabled ? "started at boot" : "not started at boot"}, ${active[`${isActive}`]}`;
}

function kernelText({ facts }: LocalPolicy): string {
  const { crashLoaded, memoryHotplug, cpuHotplug } = facts;
  const loaded = {
    true: "a capture kernel is loaded",
    false: "no capture kernel is loaded",
    undefined: "whether a capture kernel is loaded is not known",
  }[`${crashLoaded}`];
  if (memoryHotplug === undefined && cpuHotplug === undefined)
    return `${loaded}; it does not update the header itself (no crash_hotplug)`;
  const says = { true: "1", false: "0", undefined: "absent" };
  const memory = says[`${memoryHotplug}`];
  const cpus = says[`${cpuHotplug}`];
  const both = memory === cpus ? memory : `${memory} for memory, ${cpus} for CPUs`;
  if (memoryHotplug === true || cpuHotplug === true)
    return `${loaded}; crash_hotplug is ${both}: it updates the header itself`;
  return `${loaded}; crash_hotplug is ${both}: it does not update the header itself${crashLoaded === false ? " as long as nothing is loaded" : ""}`;
}

/** Events of which the same is to be said. */
interface Group {
  readonly events: EventForecast[];
  readonly lines: readonly string[];
}

function groups(forecasts: readonly EventForecast[]): readonly Group[] {
  const found = new Map<string, Group>();
  for (const forecast of forecasts) {
    const lines = effectLines(forecast);
    // What is done is the same where it is done by the same words; the lines that do it are listed for all of them.
    const key = lines.join("\n");
    const known = found.get(key) ?? { events: [], lines };
    known.events.push(forecast);
    found.set(key, known);
  }
  // What does something comes first.
  return [...found.values()].sort((a, b) => rank(a) - rank(b));
}

function rank({ events }: Group): number {
  const kind = events[0]?.effect.kind;
  if (kind === "nothing") return 2;
  return kind === "skipped" ? 1 : 0;
}

function groupText({ events, lines }: Group): string {
  const names = new Map<string, string[]>();
  for (const { device, action } of events)
    names.set(device.name, [...(names.get(device.name) ?? []), action]);
  const heading = [...names].map(([name, actions]) => `${name} ${actions.join(", ")}`).join("; ");
  const places = new Set(
    events.flatMap(({ effect, stopped, guards, others }) => [
      ...[...effect.commands, ...stopped, ...others].map(
        ({ path, line, by, command }) => `${path}:${line} ${by} ${command}`,
      ),
      ...guards.map(({ path, line }) => `${path}:${line} leaves it to the kernel`),
    ]),
  );
  return `\n  ${heading}\n${[...lines, ...places].map((line) => `    ${printable(line)}\n`).join("")}`;
}

/** Whose programs they are, and which way they reload. */
const WHOSE: Readonly<Record<string, string>> = {
  kdumpctl: ", as RHEL 7's rules do",
  "kdump-udev-throttler": ", as the rules of RHEL 8 and 9 and of Fedora do",
  "kdump-config": ", as Debian's and Ubuntu's rules do",
  "load-once.sh": ", as openSUSE's rules do",
  "kdump-load-over": ", which is kdump-hotplug's own",
};

function effectLines({ effect, stopped, dependsOn, others }: EventForecast): readonly string[] {
  const lines = [...describeEffect(effect)];
  for (const program of new Set(effect.commands.map((command) => command.program)))
    lines.push(`By ${program}${WHOSE[program] ?? ""}.`);
  for (const { program, why } of stopped)
    lines.push(
      why === "not-loaded"
        ? `${program} is called, and does nothing: nothing is loaded.`
        : `${program} is not called: the service that its rule asks for is not active.`,
    );
  for (const unit of dependsOn) lines.push(`Only where ${unit} is active, which cannot be told from here.`);
  if (others.length > 0) lines.push("It also runs programs of which it is not known what they do to kdump.");
  return lines;
}

function notesOf(policy: LocalPolicy): readonly string[] {
  const { filter, missingPrograms, replaced, forecasts, facts } = policy;
  const commands = forecasts.flatMap(({ effect }) => effect.commands);
  const notes = replaced.map(({ path, by }) => `${path} is not read: ${by} has its name`);
  if (filter)
    notes.push(
      `What udev's workers run may not load a kernel (SystemCallFilter in ${filter.path}:${filter.line} has neither kexec_load nor kexec_file_load): a reload that is not handed to PID 1 should fail and leave what is loaded as it is; that was not tried`,
    );
  if (commands.length > 0 && facts.kexecLoadDisabled === true)
    notes.push(
      "kernel.kexec_load_disabled is 1: whatever is called can neither load nor unload until the next boot",
    );
  const left = facts.kexecLoadsLeft;
  if (commands.length > 0 && left !== undefined && left >= 0n)
    notes.push(
      `kernel.kexec_load_limit_panic leaves ${left} calls until the next boot, and unloading counts as one`,
    );
  for (const path of missingPrograms) notes.push(`${path}, which rules call, is not there`);
  const updates = { memory: facts.memoryHotplug === true, cpu: facts.cpuHotplug === true };
  if (forecasts.some(({ device, effect }) => updates[device.kind] && effect.commands.length > 0))
    notes.push(
      "Kdump is reloaded although the kernel updates the header itself (crash_hotplug is 1): these rules do not ask",
    );
  if (forecasts.some(({ effect }) => effect.kind === "skipped"))
    notes.push(
      "crash_hotplug reads 0 while an image is being loaded: rules do not skip an event that comes then",
    );
  const assumed = new Set(
    forecasts.flatMap(({ assumptions }) =>
      assumptions.map(({ path, line, text }) => `${path}:${line} ${text}`),
    ),
  );
  if (assumed.size > 0)
    notes.push(
      `${assumed.size} thing${assumed.size === 1 ? " was" : "s were"} assumed that rules ask for (--json lists them), such as ${[...assumed][0]}`,
    );
  return notes;
}

/** `policy` of `audit local --policy --json`. */
export function policyJson(policy: LocalPolicy): Readonly<Record<string, unknown>> {
  const { udev, cost } = policy;
  return {
    udev: { version: udev.version ?? null, source: udev.source ?? null, readAs: udev.dialect.version },
    rules: { directories: policy.directories, files: policy.sources.length },
    services: policy.services.map((service) => ({ ...service, isActive: service.isActive ?? null })),
    devices: policy.devices.map(({ name, isPresent }) => ({ name, present: isPresent })),
    blockBytes: policy.blockSize === undefined ? null : jsonBytes(policy.blockSize),
    events: policy.forecasts.map(
      ({ device, action, effect, stopped, dependsOn, guards, others, assumptions }) => ({
        device: device.name,
        action,
        kdump: { ...effect, text: describeEffect(effect) },
        stopped,
        dependsOn,
        leftToTheKernelBy: guards,
        otherPrograms: others,
        assumptions,
      }),
    ),
    changes: policy.exposures.map((exposure) => ({ ...exposure, text: exposureText(exposure, policy) })),
    lastLoad: cost.span ?? null,
    loadedFiles: cost.files,
    unmeasuredBecause: cost.reasons,
    ownRules: policy.ownRules,
    notUnderstood: policy.notUnderstood,
    unread: policy.unread,
    replaced: policy.replaced,
    systemCallFilter: policy.filter ?? null,
    missingPrograms: policy.missingPrograms,
    notes: notesOf(policy),
  };
}
