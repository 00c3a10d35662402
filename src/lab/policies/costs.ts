/** What things cost in one run: what a simulator needs to predict that very run. */
import type { MemoryEvent } from "../udev-monitor.ts";
import type { Observation } from "../window/poll.ts";
import { describedBy, type OnlineBlock } from "../window/timeline.ts";
import type { Reload } from "./log.ts";

/** All in milliseconds, medians where there were several; undefined where the run had none of it. */
export interface MeasuredCosts {
  /** From device_add until the guest has added the DIMM (its _OST): all its blocks are visible then. */
  readonly hotAddMs: number | undefined;
  /** The same for one block of a DIMM. */
  readonly hotAddPerBlockMs: number | undefined;
  /** From the guest having a DIMM until its first block is online. */
  readonly firstOnlineMs: number | undefined;
  /**
   * From one block online to the next; the kernel does one at a time. Of two bounds the lower one: within a DIMM,
   * where blocks of others may come between, and over all blocks, where the guest may wait for the next DIMM.
   */
  readonly onlineBlockMs: number | undefined;
  /** One event of a burst that no rule matches, on an idle guest: the burst's time by its number of events. */
  readonly udevEventMs: number | undefined;
  /** From the kernel's `online` event until udevd is done with it: with the policy's programs and all that went on. */
  readonly onlineEventMs: number | undefined;
  /** From the first of those until udevd is done with the last of them. */
  readonly onlineEventsMs: number | undefined;
  /**
   * From the kernel's first `online` event until what its rule starts begins to reload: udevd, fork and exec, on a guest
   * that is busy. Both are the guest's own clock, the latter in steps of 10 ms. With a throttler, until udevd is done with it.
   */
  readonly programStartMs: number | undefined;
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
  /** Whether a throttler sleeps before the reload. */
  readonly throttled: boolean;
  /** Whether headers are installed from outside. */
  readonly keeper: boolean;
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
  // The kernel's own rewrite takes the image away for a moment as well: it is not a load, and is the shorter one.
  const byLength = [...locks].sort((a, b) => b.ms - a.ms);
  const loads = byLength.filter(({ loaded }) => loaded).slice(0, reloads.length);
  const updates = locks.filter((lock) => !loads.includes(lock));
  const whole = median(reloads.map(({ start, end }) => end - start));
  const unloadMs = median(reloads.map(({ start, unloaded }) => unloaded - start));
  const loadMs = median(loads.map(({ ms }) => ms));
  const online = sources.events.filter(({ action }) => action === "online");
  const parts = whole !== undefined && unloadMs !== undefined && loadMs !== undefined;
  return {
    hotAddMs: median(perPlug),
    hotAddPerBlockMs: median(
      plugs.map(({ start, end }, i) => perPlug[i]! / blocks.filter(inside(start, end)).length),
    ),
    firstOnlineMs: median(
      plugs.flatMap(({ start, end, added }) => {
        const first = blocks.find(inside(start, end));
        return first ? [first.at - added] : [];
      }),
    ),
    onlineBlockMs: onlineStep(plugs, blocks),
    udevEventMs: perEvent(sources.idleEvents),
    onlineEventMs: median(online.flatMap(handling)),
    onlineEventsMs: span(online),
    programStartMs: programStart(sources),
    reloadMs: whole,
    unloadMs,
    workMs: parts ? Math.max(0, whole - unloadMs - loadMs) : undefined,
    loadMs,
    kernelUpdateMs: sources.kernelUpdates ? median(updates.map(({ ms }) => ms)) : undefined,
    reactionMs: sources.keeper ? median(reactions(sources)) : undefined,
  };
}

function onlineStep(plugs: readonly Plug[], blocks: readonly OnlineBlock[]): number | undefined {
  const within = median(plugs.flatMap(({ start, end }) => step(blocks.filter(inside(start, end))) ?? []));
  const over = step(blocks);
  return within === undefined || over === undefined ? over : Math.min(within, over);
}

/** For each DIMM, how long after `device_add` the loaded image's header described it. */
function reactions({ plugs, observation }: CostSources): readonly number[] {
  const headers = observation.headers.map(({ at, bytes }) => ({ at, memory: describedBy(bytes) }));
  return plugs.flatMap(({ at, start }) => {
    const header = headers.find((candidate) => candidate.at >= at && candidate.memory.contains(start));
    return header ? [header.at - at] : [];
  });
}

function inside(start: bigint, end: bigint): (block: OnlineBlock) => boolean {
  return ({ range }) => start <= range.start && range.start < end;
}

function handling({ told, done }: MemoryEvent): readonly number[] {
  return done === undefined ? [] : [done - told];
}

function perEvent(events: readonly MemoryEvent[]): number | undefined {
  const whole = span(events);
  return whole === undefined ? undefined : whole / events.filter(({ done }) => done !== undefined).length;
}

function span(events: readonly MemoryEvent[]): number | undefined {
  const done = events.flatMap((event) => event.done ?? []);
  return done.length === 0 ? undefined : Math.max(...done) - Math.min(...events.map(({ told }) => told));
}

/** The mean step: single ones would be zero wherever several blocks came online between two looks. */
function step(blocks: readonly OnlineBlock[]): number | undefined {
  if (blocks.length < 2) return undefined;
  const times = blocks.map(({ at }) => at);
  return (Math.max(...times) - Math.min(...times)) / (times.length - 1);
}

function programStart({ events, reloads, throttled }: CostSources): number | undefined {
  const first = events.find(({ action }) => action === "online");
  const [reload] = reloads;
  if (!first || !reload) return undefined;
  return Math.max(0, (throttled ? (first.done ?? first.told) : reload.start) - first.told);
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
