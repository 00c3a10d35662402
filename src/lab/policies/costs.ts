/** What things cost in one run: what a simulator needs to predict that very run. */
import type { MemoryEvent } from "../udev-monitor.ts";
import type { Observation } from "../window/poll.ts";
import type { OnlineBlock } from "../window/timeline.ts";
import type { Reload } from "./log.ts";

/** All in milliseconds, medians where there were several; undefined where the run had none of it. */
export interface MeasuredCosts {
  /** From device_add until the guest has added the DIMM (its _OST): all its blocks are visible then. */
  readonly hotAddMs: number | undefined;
  /** The same for one block of a DIMM. */
  readonly hotAddPerBlockMs: number | undefined;
  /** From one block online to the next, udev's part included: a DIMM's time from its first to its last, by the steps. */
  readonly onlineBlockMs: number | undefined;
  /** One event of a burst that no rule matches, on an idle guest: the burst's time by its number of events. */
  readonly udevEventMs: number | undefined;
  /** From the kernel's `online` event until udevd is done with it: with the policy's programs and all that went on. */
  readonly onlineEventMs: number | undefined;
  /** A whole reload, by the script's own log (steps of 10 ms). */
  readonly reloadMs: number | undefined;
  /** Its parts, which add up to it. `unloadMs`: by the script's log; the image is gone at its end. */
  readonly unloadMs: number | undefined;
  /** Between unload and system call: kexec starts and reads kernel and initrd. The image is gone, the lock is free. */
  readonly workMs: number | undefined;
  /** The system call that loads: the kexec lock is held, seen from outside. */
  readonly loadMs: number | undefined;
  /** One rewrite of the header by the kernel itself: the lock is held, seen from outside. */
  readonly kernelUpdateMs: number | undefined;
  /** From device_add until the new header is installed from outside. */
  readonly reactionMs: number | undefined;
}

/** What {@link measureCosts} computes from. Times are host milliseconds unless said. */
export interface CostSources {
  readonly observation: Observation;
  readonly plugs: readonly Plug[];
  readonly blocks: readonly OnlineBlock[];
  /** A burst that no rule matches. */
  readonly idleEvents: readonly MemoryEvent[];
  readonly events: readonly MemoryEvent[];
  readonly reloads: readonly Reload[];
  /** When headers were installed from outside. */
  readonly installs: readonly number[];
  readonly kernelUpdates: boolean;
}

/** One DIMM, plugged. */
export interface Plug {
  /** When `device_add` was sent. */
  readonly at: number;
  /** When the guest said that it has it. */
  readonly added: number;
  readonly start: bigint;
  readonly end: bigint;
}

/** The costs of one run. */
export function measureCosts(sources: CostSources): MeasuredCosts {
  const { plugs, blocks, reloads } = sources;
  const perPlug = plugs.map(({ at, added }) => added - at);
  const locks = lockedSpans(sources.observation);
  const loads = locks.filter(({ loaded }) => loaded).map(({ ms }) => ms);
  const whole = median(reloads.map(({ start, end }) => end - start));
  const unloadMs = median(reloads.map(({ start, unloaded }) => unloaded - start));
  const loadMs = median(loads);
  const parts = whole !== undefined && unloadMs !== undefined && loadMs !== undefined;
  return {
    hotAddMs: median(perPlug),
    hotAddPerBlockMs: median(
      plugs.map(({ start, end }, i) => perPlug[i]! / blocks.filter(inside(start, end)).length),
    ),
    onlineBlockMs: median(
      plugs.flatMap(({ start, end }) => step(blocks.filter(inside(start, end)).map(({ at }) => at))),
    ),
    udevEventMs: perEvent(sources.idleEvents),
    onlineEventMs: median(sources.events.filter(({ action }) => action === "online").flatMap(handling)),
    reloadMs: whole,
    unloadMs,
    workMs: parts ? Math.max(0, whole - unloadMs - loadMs) : undefined,
    loadMs,
    kernelUpdateMs: sources.kernelUpdates ? median(locks.map(({ ms }) => ms)) : undefined,
    reactionMs: median(
      sources.installs.flatMap((installed) => {
        const plug = plugs.findLast(({ at }) => at <= installed);
        return plug ? [installed - plug.at] : [];
      }),
    ),
  };
}

function inside(start: bigint, end: bigint): (block: OnlineBlock) => boolean {
  return ({ range }) => start <= range.start && range.start < end;
}

function handling({ told, done }: MemoryEvent): readonly number[] {
  return done === undefined ? [] : [done - told];
}

function perEvent(events: readonly MemoryEvent[]): number | undefined {
  const done = events.flatMap((event) => event.done ?? []);
  if (done.length === 0) return undefined;
  return (Math.max(...done) - Math.min(...events.map(({ told }) => told))) / done.length;
}

/** The mean step: single ones would be zero wherever several blocks came online between two looks. */
function step(times: readonly number[]): readonly number[] {
  return times.length < 2 ? [] : [(Math.max(...times) - Math.min(...times)) / (times.length - 1)];
}

/** Stretches with the lock held; `loaded`: no image at some moment of it, and one at its end. */
function lockedSpans({ states }: Observation): readonly { readonly ms: number; readonly loaded: boolean }[] {
  const spans: { ms: number; loaded: boolean }[] = [];
  let begin: number | undefined;
  let absent = false;
  for (const { at, image, locked } of states) {
    if (locked) {
      if (begin === undefined) absent = false;
      begin ??= at;
      absent ||= !image;
    } else if (begin !== undefined) {
      spans.push({ ms: at - begin, loaded: absent && image });
      begin = undefined;
    }
  }
  return spans;
}

/** The middle one; of an even number, the mean of the two; undefined of none. */
export function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.ceil(sorted.length / 2) - 1];
  return upper === undefined || lower === undefined ? undefined : (upper + lower) / 2;
}
