/**
 * How long a machine is blind or stale after a change, in terms of what is done and how often: what each of that costs is
 * not known here. The mechanisms are those of `simulation/world/programs.ts` and `kexec.ts`, which run them in virtual time.
 */
import type { Kind } from "./cases.ts";
import type { EventEffect } from "./effect.ts";
import type { EventForecast } from "./forecast.ts";

/** What can happen to a machine: it takes two events for each memory block or CPU. */
export type Change = "memory-added" | "memory-removed" | "cpu-added" | "cpu-removed";

/** Why a panic after a change gives no dump for a while. */
export type Blind =
  | "no"
  /** The kernel rewrites the header, with the kexec lock held. */
  | "kernel-rewrite"
  /** A load over the loaded image: during its system call. */
  | "load-over"
  /** Unload, then load: from the one to the end of the other. */
  | "reload"
  /** Nothing is loaded, or nothing is afterwards, and nothing loads it. */
  | "unloaded";

/** Until when a dump lacks what came, or has what is gone. */
export type Stale =
  | "no"
  | "until-loaded"
  /** The throttler sleeps for 1 s, and waits for events to settle for 3 s at most, before it reloads (kdump-utils 1c97aee). */
  | "until-settled-and-loaded"
  /** Linux 6.12's own handler leaves a removed DIMM in the header until the next event of memory (seen on 6.12.107). */
  | "until-next-event"
  | "for-good";

/** What one change means. */
export interface Exposure {
  readonly change: Change;
  readonly blind: Blind;
  /**
   * `each`: for every memory block or CPU, `times` times; `settled`: once for all that change together; `coalesced`: one
   * load at a time, and one more for all that came meanwhile.
   */
  readonly repeats: "each" | "settled" | "coalesced";
  /** With `each`: how many of the change's two events do it. */
  readonly times: number;
  readonly stale: Stale;
  /** Whether that also loads where nothing is loaded. */
  readonly loads: boolean;
}

/** What {@link exposuresOf} has to know beside the rules. */
export interface Surroundings {
  /** Whether something is loaded now; undefined is taken for yes. */
  readonly crashLoaded: boolean | undefined;
  /** Whether the kernel keeps the header true itself, by kind. */
  readonly kernelUpdates: Readonly<Record<Kind, boolean>>;
  /** Whether the loaded header has a note of every CPU that may ever come: then no CPU makes it untrue. */
  readonly describesAllCpus: boolean;
}

const CHANGES = [
  { change: "memory-added", kind: "memory", actions: ["add", "online"] },
  { change: "memory-removed", kind: "memory", actions: ["offline", "remove"] },
  { change: "cpu-added", kind: "cpu", actions: ["add", "online"] },
  { change: "cpu-removed", kind: "cpu", actions: ["offline", "remove"] },
] as const;

/** What each change means, by what its events do. */
export function exposuresOf(
  forecasts: readonly EventForecast[],
  surroundings: Surroundings,
): readonly Exposure[] {
  return CHANGES.map(({ change, kind, actions }) => {
    const events = forecasts.filter(
      (one) => one.device.kind === kind && actions.some((action) => action === one.action),
    );
    return exposureOf(change, kind, events, surroundings);
  });
}

const COSTLIEST = ["unload", "reload", "coalesced-reload", "throttled-reload"] as const;

function exposureOf(
  change: Change,
  kind: Kind,
  events: readonly EventForecast[],
  { crashLoaded, kernelUpdates, describesAllCpus }: Surroundings,
): Exposure {
  const does = (effect: EventEffect["kind"]): readonly EventForecast[] =>
    events.filter((one) => one.effect.kind === effect);
  const worst = COSTLIEST.find((effect) => does(effect).length > 0);
  const loads = worst !== undefined && worst !== "unload";
  const stays = crashLoaded === false && !loads;
  const updates = kernelUpdates[kind] && crashLoaded !== false;
  if (worst === undefined || stays) {
    const untouched = updates ? "kernel-rewrite" : "no";
    const blind = stays ? "unloaded" : untouched;
    const stale = stays ? "no" : staleUntouched(change, updates, describesAllCpus);
    return { change, blind, repeats: "each", times: 1, stale, loads };
  }
  const commands = does(worst).flatMap(({ effect }) =>
    effect.commands.filter((command) => command.effect === worst),
  );
  const over = commands.every(({ unloadsFirst }) => !unloadsFirst);
  const times = does(worst).length;
  if (worst === "unload") return { change, blind: "unloaded", repeats: "each", times, stale: "no", loads };
  const repeats = (
    { reload: "each", "coalesced-reload": "coalesced", "throttled-reload": "settled" } as const
  )[worst];
  // A kernel that has rewritten the header has made it true before any reload begins, except for memory that is gone.
  const isTrue = staleUntouched(change, updates, describesAllCpus) === "no";
  const untilLoaded = worst === "throttled-reload" ? "until-settled-and-loaded" : "until-loaded";
  const stale = isTrue || crashLoaded === false ? "no" : untilLoaded;
  return { change, blind: over ? "load-over" : "reload", repeats, times, stale, loads };
}

function staleUntouched(change: Change, updates: boolean, describesAllCpus: boolean): Stale {
  if ((change === "cpu-added" || change === "cpu-removed") && describesAllCpus) return "no";
  if (!updates) return "for-good";
  return change === "memory-removed" ? "until-next-event" : "no";
}
