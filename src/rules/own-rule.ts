/** Rules of kdump-hotplug itself: they take the place of a distribution's reload, and must not be undone by it. */
import type { EventForecast } from "./forecast.ts";
import type { RuleSource } from "./source.ts";

/** A file of rules that udev does not read, because another one has its name in a directory of higher priority. */
export interface HiddenRules extends RuleSource {
  /** The file that is read instead, or masks it. */
  readonly by: string;
}

/** What became of kdump-hotplug's own rules. */
export interface OwnRules {
  /** Paths of those that udev reads. */
  readonly installed: readonly string[];
  /** What undoes them; one sentence each. */
  readonly conflicts: readonly string[];
}

/** Whether a file of rules is kdump-hotplug's: by its name, or by a comment, for it may have a distribution's name. */
export function isOwnRule({ path, text }: RuleSource): boolean {
  return /kdump-hotplug[^/]*$/.test(path) || /^[ \t]*#.*\bkdump-hotplug\b/m.test(text);
}

/** Finds kdump-hotplug's own rules, and what does a reload all the same. */
export function findOwnRules(
  sources: readonly RuleSource[],
  hidden: readonly HiddenRules[],
  forecasts: readonly EventForecast[],
): OwnRules {
  const installed = sources.filter(isOwnRule).map(({ path }) => path);
  const conflicts = hidden
    .filter(isOwnRule)
    .map(
      ({ path, by }) =>
        `udev does not read kdump-hotplug's own ${path}: ${by} has its name, in a directory of higher priority`,
    );
  if (installed.length === 0) return { installed, conflicts };
  const undoing = new Map<string, { readonly program: string; readonly events: string[] }>();
  for (const { device, action, effect } of forecasts) {
    for (const { path, line, program } of effect.commands) {
      if (installed.includes(path)) continue;
      const place = `${path}:${line}`;
      const known = undoing.get(place) ?? { program, events: [] };
      known.events.push(`${device.name} ${action}`);
      undoing.set(place, known);
    }
  }
  for (const [place, { program, events }] of undoing)
    conflicts.push(
      `kdump-hotplug's own ${installed.join(", ")} is undone by ${place}, which still calls ${program} at ${events.join(", ")}`,
    );
  return { installed, conflicts };
}
