/** What an event does to kdump. */
import type { CrashHotplug, KernelSpec } from "./device.ts";
import type { EvaluateOptions, RuleSet } from "./evaluate.ts";
import { type EventSpec, makeEvent } from "./event.ts";
import { type KdumpCommand, recognise } from "./kdump-command.ts";
import type { Outcome, Place } from "./outcome.ts";

/** A command that an event leads to and that does something to kdump. */
export interface CommandEffect extends KdumpCommand, Place {
  readonly command: string;
  /** PROGRAM: while the rules are evaluated; RUN: after them. */
  readonly by: "PROGRAM" | "RUN";
}

/** What one event does to kdump. */
export interface EventEffect {
  /**
   * `skipped`: rules would reload, but leave it to a kernel that says crash_hotplug = 1. Of several effects the one
   * that costs most.
   */
  readonly kind: "nothing" | "skipped" | "reload" | "throttled-reload" | "coalesced-reload" | "unload";
  readonly commands: readonly CommandEffect[];
  /** Whether udev's worker waits for the reload, and in which phase. */
  readonly blocksWorker: "no" | "in-rules" | "in-run";
}

/** What `outcome` does, without asking what another kernel would make of it. */
export function effectOfOutcome(outcome: Outcome): EventEffect {
  const commands: CommandEffect[] = [];
  const look = (by: "PROGRAM" | "RUN", command: string, { path, line }: Place): void => {
    const known = recognise(command);
    if (known) commands.push({ ...known, by, command, path, line });
  };
  for (const action of outcome.actions)
    if (action.kind === "program") look("PROGRAM", action.command, action);
  for (const entry of outcome.run) if (entry.kind === "program") look("RUN", entry.command, entry);
  return effectOfCommands(commands);
}

/** What these commands do together. */
export function effectOfCommands(commands: readonly CommandEffect[]): EventEffect {
  const waiting = commands.filter(({ detached }) => !detached);
  const inRules = waiting.some(({ by }) => by === "PROGRAM");
  return {
    kind: COSTLIEST.find((effect) => commands.some((command) => command.effect === effect)) ?? "nothing",
    commands,
    blocksWorker: inRules ? "in-rules" : waiting.length > 0 ? "in-run" : "no",
  };
}

const COSTLIEST = ["unload", "reload", "coalesced-reload", "throttled-reload"] as const;

/** What the event `spec` does on `kernel`. */
export function effectOf(
  rules: RuleSet,
  spec: EventSpec,
  kernel: KernelSpec,
  options: EvaluateOptions = {},
): EventEffect {
  const on = (crashHotplug: CrashHotplug): EventEffect =>
    effectOfOutcome(rules.evaluate(makeEvent(spec, { kernel: { ...kernel, crashHotplug } }), options));
  const effect = on(kernel.crashHotplug);
  // Only rules that reload on a kernel which does not update itself skip anything.
  const skips = effect.kind === "nothing" && kernel.crashHotplug === "1" && on("0").kind !== "nothing";
  return skips ? { ...effect, kind: "skipped" } : effect;
}

/** {@link EventEffect} as sentences. */
export function describeEffect({ kind, commands, blocksWorker }: EventEffect): readonly string[] {
  const sentences = [EFFECTS[kind]];
  if (blocksWorker === "in-rules")
    sentences.push(
      "The worker of udev waits for it while it evaluates the rules: the event, and whoever waits for it, is late by a whole reload, and after 180 s the worker is killed.",
    );
  if (blocksWorker === "in-run")
    sentences.push("The worker of udev waits for it before it reports the event; after 180 s it is killed.");
  if (commands.some(({ latches }) => latches))
    sentences.push("It does nothing while no image is loaded: after one load that failed, kdump stays off.");
  return sentences;
}

const EFFECTS: Readonly<Record<EventEffect["kind"], string>> = {
  nothing: "Does nothing to kdump.",
  skipped:
    "Does nothing to kdump: the kernel says that it updates the core header itself (crash_hotplug is 1).",
  reload: "Reloads kdump, once for each such event: each time no capture kernel is loaded for a while.",
  "throttled-reload":
    "Reloads kdump once events have settled (after 1 s, or 4 s at most): until then the core header is stale, while it reloads no capture kernel is loaded.",
  "coalesced-reload":
    "Reloads kdump, one reload at a time and one more for all events that came meanwhile: back to back while events come in.",
  unload: "Unloads kdump and leaves nothing loaded.",
};
