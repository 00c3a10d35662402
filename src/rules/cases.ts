/** The events that must keep kdump up to date, each evaluated on each kernel. */
import type { CrashHotplug } from "./device.ts";
import { type CommandEffect, effectOf, type EventEffect } from "./effect.ts";
import type { EvaluateOptions, RuleSet } from "./evaluate.ts";
import type { Action, EventSpec } from "./event.ts";
import type { Place } from "./outcome.ts";

/** What comes and goes. */
export type Kind = "memory" | "cpu";

/** What one event does on one kernel. */
export interface Case {
  readonly kind: Kind;
  readonly action: Action;
  readonly kernel: CrashHotplug;
  readonly spec: EventSpec;
  readonly effect: EventEffect;
}

const HOTPLUG_ACTIONS = ["add", "online", "offline", "remove"] as const;
/** A memory block and a CPU that were not there at boot. */
const NAMES: Readonly<Record<Kind, string>> = { memory: "memory40", cpu: "cpu3" };

/** Every hot-plug event of a memory block and a CPU, on each of `kernels`. */
export function hotplugCases(
  rules: RuleSet,
  kernels: readonly CrashHotplug[],
  options: EvaluateOptions,
): readonly Case[] {
  return kernels.flatMap((kernel) =>
    (["memory", "cpu"] as const).flatMap((kind) =>
      HOTPLUG_ACTIONS.map((action) => {
        const spec = { action, devpath: `/devices/system/${kind}/${NAMES[kind]}` };
        const effect = effectOf(rules, spec, { crashHotplug: kernel }, options);
        return { kind, action, kernel, spec, effect };
      }),
    ),
  );
}

/** Whether a capture image that knows of the change is loaded in the end. */
export function isReload({ effect: { kind } }: Pick<Case, "effect">): boolean {
  return kind === "reload" || kind === "throttled-reload" || kind === "coalesced-reload";
}

/** `add:memory, online:cpu`, each once. */
export function eventNames(cases: readonly Case[]): string {
  return [...new Set(cases.map(({ kind, action }) => `${action}:${kind}`))].join(", ");
}

/** The lines that the wanted commands come from, each once. */
export function commandPlaces(
  cases: readonly Case[],
  wanted: (command: CommandEffect) => boolean = () => true,
): readonly Place[] {
  const places = new Map<string, Place>();
  for (const { effect } of cases) {
    for (const command of effect.commands) {
      const { path, line } = command;
      if (wanted(command)) places.set(`${path}:${line}`, { path, line });
    }
  }
  return [...places.values()];
}
