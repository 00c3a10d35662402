/** What the next hot-plug events would do to kdump on one machine: by its rules, as far as its service lets them, and by its kernel. */
import type { Kind } from "./cases.ts";
import type { CrashHotplug, KernelSpec } from "./device.ts";
import {
  type CommandEffect,
  effectOf,
  effectOfCommands,
  effectOfOutcome,
  type EventEffect,
} from "./effect.ts";
import type { RuleSet } from "./evaluate.ts";
import { type Action, makeEvent } from "./event.ts";
import { recognise, unitAskedBy } from "./kdump-command.ts";
import type { Outcome, Place } from "./outcome.ts";
import type { Assumption, World } from "./world.ts";

/** A memory block or a CPU to which something happens. */
export interface HotplugDevice {
  readonly kind: Kind;
  /** `memory40`, `cpu3`. */
  readonly name: string;
  /** Whether the machine has it; else it is what such devices usually are. */
  readonly isPresent: boolean;
  /** What its sysfs files say, where that does not depend on the event. */
  readonly attributes: Readonly<Record<string, string>>;
  /** Variables that its uevents have. */
  readonly variables: Readonly<Record<string, string>>;
}

/** The machine beside its rules. */
export interface Situation {
  /** `kexec_crash_loaded`; undefined where that is not known. */
  readonly crashLoaded: boolean | undefined;
  readonly crashHotplug: Readonly<Record<Kind, CrashHotplug>>;
  readonly kernel: Omit<KernelSpec, "crashHotplug">;
  /** Whether systemd has started a unit and not stopped it; undefined where that is not known. */
  readonly isActive: (unit: string) => boolean | undefined;
  readonly world: World;
}

/** A command that comes to nothing on the machine as it is. */
export interface StoppedCommand extends CommandEffect {
  /** `not-loaded`: it does nothing while nothing is loaded; `inactive`: it asks for a unit that is not active. */
  readonly why: "not-loaded" | "inactive";
}

/** A program that an event leads to and of which it is not known what it does. */
export interface OtherProgram extends Place {
  readonly by: "PROGRAM" | "RUN";
  readonly command: string;
}

/** What one event would do. */
export interface EventForecast {
  readonly device: HotplugDevice;
  readonly action: Action;
  /** Of the commands that do something; `skipped` where the rules leave it to the kernel. */
  readonly effect: EventEffect;
  readonly stopped: readonly StoppedCommand[];
  /** Units of which it is not known whether they are active: where one is not, nothing is done. */
  readonly dependsOn: readonly string[];
  /** The lines that left it to the kernel. */
  readonly guards: readonly Place[];
  readonly others: readonly OtherProgram[];
  /** What the rules asked for and nobody knew. */
  readonly assumptions: readonly Assumption[];
}

/** In the order in which they come when a device is plugged, and when it is taken out. */
const ACTIONS = ["add", "online", "offline", "remove"] as const;

/** Programs that are known not to touch kdump: distributions' rules ask them for every memory block. */
const HARMLESS: ReadonlySet<string> = new Set(["uname", "systemd-detect-virt", "cat", "true"]);

/** What each event of each device would do. */
export function forecastEvents(
  rules: RuleSet,
  devices: readonly HotplugDevice[],
  situation: Situation,
): readonly EventForecast[] {
  return devices.flatMap((device) => ACTIONS.map((action) => forecast(rules, device, action, situation)));
}

function forecast(
  rules: RuleSet,
  device: HotplugDevice,
  action: Action,
  situation: Situation,
): EventForecast {
  const { kind, name, attributes, variables } = device;
  const kernel: KernelSpec = { ...situation.kernel, crashHotplug: situation.crashHotplug[kind] };
  const spec = { action, devpath: `/devices/system/${kind}/${name}` };
  const evaluation = { world: situation.world } as const;
  const outcome = rules.explain(makeEvent(spec, { kernel, attributes, variables }), evaluation);
  const asked = effectOfOutcome(outcome);
  const stopped: StoppedCommand[] = [];
  const acting: CommandEffect[] = [];
  const dependsOn = new Set<string>();
  for (const command of asked.commands) {
    const unit = unitAskedBy(command.command);
    const active = unit === undefined ? true : situation.isActive(unit);
    if (command.latches && situation.crashLoaded === false) stopped.push({ ...command, why: "not-loaded" });
    else if (active === false) stopped.push({ ...command, why: "inactive" });
    else acting.push(command);
    if (unit !== undefined && active === undefined) dependsOn.add(unit);
  }
  const effect = effectOfCommands(acting);
  const isSkipped = asked.kind === "nothing" && effectOf(rules, spec, kernel, evaluation).kind === "skipped";
  return {
    device,
    action,
    effect: isSkipped ? { ...effect, kind: "skipped" } : effect,
    stopped,
    dependsOn: [...dependsOn],
    guards: isSkipped ? guardsIn(outcome) : [],
    others: otherPrograms(outcome),
    // Whether a reload succeeds is no question of the rules.
    assumptions: outcome.assumptions.filter(
      ({ text }) => !asked.commands.some(({ command }) => text.startsWith(`${command} `)),
    ),
  };
}

function guardsIn({ lines }: Outcome): readonly Place[] {
  return lines.flatMap((one) =>
    one.result === "matched" && one.line.tokens.some(({ attribute }) => attribute?.includes("crash_hotplug"))
      ? [{ path: one.line.path, line: one.line.number }]
      : [],
  );
}

function otherPrograms({ actions, run }: Outcome): readonly OtherProgram[] {
  const others: OtherProgram[] = [];
  const look = (by: OtherProgram["by"], command: string, { path, line }: Place): void => {
    const program = command.trim().split(/\s/, 1)[0] ?? "";
    const name = program.slice(program.lastIndexOf("/") + 1);
    if (!recognise(command) && !HARMLESS.has(name)) others.push({ by, command, path, line });
  };
  for (const action of actions) if (action.kind === "program") look("PROGRAM", action.command, action);
  for (const entry of run) if (entry.kind === "program") look("RUN", entry.command, entry);
  return others;
}
