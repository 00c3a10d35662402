/** From what was seen from outside to what a panic would have given at each moment. */
import { decodeCoreHeader } from "../../elfcore/decode.ts";
import { describedMemory } from "../../layout/described.ts";
import type { PhysicalRange } from "../../layout/range.ts";
import { RangeSet } from "../../layout/range-set.ts";
import { MeasurementError } from "../errors.ts";
import type { Observation, PagesRecord } from "./poll.ts";

/**
 * - `blind`: no dump: nothing is loaded, or the kexec lock is held;
 * - `stale`: a dump that lacks memory that is online;
 * - `accurate`: neither.
 */
export type KdumpState = "blind" | "stale" | "accurate";

/** One stretch of time in one state, milliseconds. */
export interface Span {
  readonly start: number;
  readonly end: number;
  readonly state: KdumpState;
  /** Online and not described; 0 unless stale. */
  readonly missingBytes: number;
}

/** A hot-added block, and when all its pages had come online. */
export interface OnlineBlock {
  readonly at: number;
  readonly range: PhysicalRange;
}

const PAGE_SIZE = 4096n;

/**
 * When each block came online. The kernel brings one after the other online, under one lock, and tells of each before
 * it lets that go: so the n-th uevent belongs to the n-th time that `_totalram_pages` has grown by a block. Which
 * block it was is the guest's word, when it was is ours: no clocks need to be compared.
 *
 * @param order the blocks in the order of their `online` uevents.
 * @throws {MeasurementError} where memory grew by less.
 */
export function onlineBlocks(
  pages: readonly PagesRecord[],
  order: readonly PhysicalRange[],
): readonly OnlineBlock[] {
  let wanted = BigInt(pages[0]?.pages ?? 0);
  return order.map((range, index) => {
    wanted += (range.end - range.start) / PAGE_SIZE;
    const at = pages.find((record) => BigInt(record.pages) >= wanted)?.at;
    if (at === undefined)
      throw new MeasurementError(
        `The guest told of ${order.length} blocks that came online, but its memory grew by ${index}`,
      );
    return { at, range };
  });
}

/** What a panic would have given, from `from` to the end of the observation, without gaps. */
export function timelineOf(
  observation: Observation,
  blocks: readonly OnlineBlock[],
  from: number,
): readonly Span[] {
  const headers = observation.headers.map(({ at, bytes }) => ({ at, described: described(bytes) }));
  const { states, end } = observation;
  const times = [...states, ...headers, ...blocks].map(({ at }) => at).filter((at) => at > from && at < end);
  const marks = [...new Set([from, ...times])].sort((a, b) => a - b);
  const spans: Span[] = [];
  for (const [index, start] of marks.entries()) {
    const state = states.findLast(({ at }) => at <= start);
    const header = headers.findLast(({ at }) => at <= start)?.described ?? RangeSet.empty;
    const online = RangeSet.of(blocks.filter(({ at }) => at <= start).map(({ range }) => range));
    const missing = Number(online.subtract(header).bytes);
    const blind = state === undefined || !state.image || state.locked;
    add(spans, {
      start,
      end: marks[index + 1] ?? end,
      state: blind ? "blind" : missing > 0 ? "stale" : "accurate",
      missingBytes: blind ? 0 : missing,
    });
  }
  return spans;
}

/** Appends, as one span with the last where nothing differs. */
function add(spans: Span[], span: Span): void {
  const last = spans.at(-1);
  if (last && last.state === span.state && last.missingBytes === span.missingBytes)
    spans[spans.length - 1] = { ...last, end: span.end };
  else spans.push(span);
}

/** A header that cannot be read describes nothing: that is what the capture kernel would make of it. */
function described(bytes: Uint8Array): RangeSet {
  try {
    return describedMemory(decodeCoreHeader(bytes));
  } catch {
    return RangeSet.empty;
  }
}

/** How long, how often and at worst. Neighbours in the same state count as one, whatever they lack. */
export function totalOf(
  spans: readonly Span[],
  state: KdumpState,
): { readonly ms: number; readonly longestMs: number; readonly count: number } {
  let [ms, longestMs, count, length] = [0, 0, 0, 0];
  for (const [index, span] of spans.entries()) {
    if (span.state !== state) continue;
    const goesOn = spans[index - 1]?.state === state;
    length = (goesOn ? length : 0) + span.end - span.start;
    if (!goesOn) count++;
    ms += span.end - span.start;
    longestMs = Math.max(longestMs, length);
  }
  return { ms, longestMs, count };
}
