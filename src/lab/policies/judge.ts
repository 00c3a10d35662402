/** From what was seen of a run to its result. */
import type { PhysicalRange } from "../../layout/range.ts";
import { MeasurementError } from "../errors.ts";
import { recognise } from "../../rules/kdump-command.ts";
import { RangeSet } from "../../layout/range-set.ts";
import type { BlockRun, PolicyFigures, PolicyRunResult } from "../policy-run.ts";
import type { MemoryEvent } from "../udev-monitor.ts";
import type { Observation } from "../window/poll.ts";
import { describedBy, onlineBlocks, type Span, timelineOf, totalOf } from "../window/timeline.ts";
import { measureCosts } from "./costs.ts";
import type { Played } from "./play.ts";
import type { LabPolicy } from "./policy.ts";

/**
 * Judges one run.
 *
 * @throws {MeasurementError} where what was seen does not fit together.
 */
export function judgePolicy(
  policy: LabPolicy,
  played: Played,
): Omit<PolicyRunResult, "case" | "udev" | "boots"> {
  const { release, observation, plugs, log, installs, kernelUpdates, blockBytes, blocks, audit } = played;
  const order = onlineOrder(played.events, blockBytes);
  if (order.length !== blocks)
    throw new MeasurementError(
      `The guest told of ${order.length} blocks that came online, plugged were ${blocks}`,
    );
  const online = onlineBlocks(observation.pages, order);
  const from = plugs[0]!.at;
  const spans = timelineOf(observation, online, from);
  const { samples, medianGapMs, worstGapMs } = observation;
  // On a kernel that updates itself nobody else is needed.
  const promised = kernelUpdates ? "accurate" : policy.promise;
  const wrong = audit.verdict === promised ? [] : [`kdump is ${audit.verdict} at the end, not ${promised}`];
  const handled = log.reloads.length + log.throttled + log.skipped;
  // Beside the rule that brings memory online there is one that does something about each block.
  if (policy.rules.length > 1 && handled !== blocks)
    wrong.push(`${handled} of ${blocks} events led to a reload, or to one that was to come`);
  return {
    release,
    kernelUpdates,
    blocks,
    blockBytes,
    events: played.events.length,
    figures: figuresOf(spans, log.reloads.length, from, lastChange(observation)),
    costs: measureCosts({
      observation,
      plugs,
      blocks: online,
      idleEvents: played.idleEvents,
      events: played.events,
      reloads: log.reloads,
      throttled: isThrottled(policy),
      keeper: policy.keeper,
      kernelUpdates,
    }),
    throttled: log.throttled,
    skipped: log.skipped,
    headerChanges: Math.max(0, observation.headers.length - 1),
    installs: installs.map((install) => ({ ...install, at: install.at - from })),
    runMs: lastChange(observation) - from,
    plugs: plugs.map(({ at, added, start, end }) => ({
      at: at - from,
      added: added - from,
      bytes: Number(end - start),
    })),
    dimms: plugs.map((range) => blocksOf(range, blockBytes)),
    onlineAt: online.map(({ at }) => at - from),
    onlineBlocks: online.map(({ range }) => blocksOf(range, blockBytes).first),
    headers: headersOf(observation, RangeSet.of(plugs), blockBytes).map(({ at, described }) => ({
      at: at - from,
      described,
    })),
    resolution: { samples, medianGapMs, worstGapMs },
    spans: spans.map((span) => ({ ...span, start: span.start - from, end: span.end - from })),
    verdict: audit.verdict,
    verdictReason: audit.reason,
    promised,
    failures: [...wrong, ...log.failures],
  };
}

function blocksOf({ start, end }: PhysicalRange, blockBytes: number): BlockRun {
  return { first: Number(start / BigInt(blockBytes)), count: Number((end - start) / BigInt(blockBytes)) };
}

/** What each header described of `added`, where that differs from the one before. */
function headersOf(
  { headers }: Observation,
  added: RangeSet,
  blockBytes: number,
): PolicyRunResult["headers"] {
  const size = BigInt(blockBytes);
  const seen = headers.map(({ at, bytes }) => ({
    at,
    described: describedBy(bytes)
      .intersect(added)
      .ranges.map(({ start, end }) => ({
        start: start + ((size - (start % size)) % size),
        end: end - (end % size),
      }))
      .filter(({ start, end }) => start < end)
      .map((range) => blocksOf(range, blockBytes)),
  }));
  return seen.filter(
    ({ described }, i) => JSON.stringify(described) !== JSON.stringify(seen[i - 1]?.described),
  );
}

function isThrottled({ rules }: LabPolicy): boolean {
  return rules.some(({ command = "" }) => recognise(command)?.effect === "throttled-reload");
}

/** When something changed last. */
function lastChange({ states, headers, pages }: Observation): number {
  return Math.max(...[states, headers, pages].flatMap((records) => records.at(-1)?.at ?? []));
}

/** Blocks in the order in which the kernel told that they are online. */
function onlineOrder(events: readonly MemoryEvent[], blockBytes: number): readonly PhysicalRange[] {
  return events
    .filter(({ action }) => action === "online")
    .map(({ block }) => {
      const start = BigInt(block) * BigInt(blockBytes);
      return { start, end: start + BigInt(blockBytes) };
    });
}

/** @param rest when the last thing changed: what stays wrong for good is counted until then, not until we stopped looking. */
function figuresOf(all: readonly Span[], reloads: number, from: number, rest: number): PolicyFigures {
  const spans = all.flatMap((span) =>
    span.start < rest ? [{ ...span, end: Math.min(span.end, rest) }] : [],
  );
  const blind = totalOf(spans, "blind");
  const stale = totalOf(spans, "stale");
  const atRest = all.at(-1)?.state === "accurate";
  const lastWrong = all.findLast(({ state }) => state !== "accurate");
  return {
    reloads,
    blindMs: blind.ms,
    longestBlindMs: blind.longestMs,
    blindWindows: blind.count,
    staleMs: stale.ms,
    longestStaleMs: stale.longestMs,
    missingByteSeconds: spans.reduce(
      (sum, { start, end, missingBytes }) => sum + (missingBytes * (end - start)) / 1000,
      0,
    ),
    accurateAfterMs: atRest ? (lastWrong?.end ?? from) - from : undefined,
  };
}
