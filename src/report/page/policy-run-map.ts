/**
 * The added memory of policies in real guests, step by step: what the poller saw of each block (online, in the loaded
 * header or not), put beside the span that was judged from the same. Nothing here is deduced from the policy.
 */
import type { BlockRun, PolicyRunResult } from "../../lab/policy-run.ts";
import type { Span } from "../../lab/window/timeline.ts";
import { changesBetween } from "./map-space.ts";
import { fittingRuns } from "./map-steps.ts";
import { CELL_CLASSES, type CellClass, type MapRun, type MapSection, type MapStep } from "./model.ts";

const LABELS = [
  "the capture kernel is loaded, and nothing was plugged yet",
  "DIMM {} is plugged: QEMU has added it",
  "memory block {} comes online",
  "{} memory blocks come online at one look",
  "another header is seen in the loaded image",
  "nothing is loaded, or the kexec lock is held: a panic starts no capture kernel",
  "a capture kernel would start again",
] as const;
type Label = 0 | 1 | 2 | 3 | 4 | 5 | 6;

/** What a run knows of its memory. */
export type KnownMemory = Pick<
  PolicyRunResult,
  "case" | "blockBytes" | "plugs" | "dimms" | "onlineAt" | "onlineBlocks" | "headers" | "spans"
>;

/**
 * The map of several policies' runs; cells are memory blocks.
 *
 * @param bandOf a run's band, as it is drawn above. @param window ms.
 * @returns names of policies that were left out because all would have too many steps.
 */
export function policyRunsMap(
  runs: readonly KnownMemory[],
  bandOf: (spans: readonly Span[]) => MapRun["intervals"],
  window: number,
): { readonly section: MapSection; readonly leftOut: readonly string[] } {
  const blocks = [...new Set(runs.flatMap(({ dimms }) => dimms.flatMap(numbersOf)))].sort((a, b) => a - b);
  const { maps, leftOut } = fittingRuns(
    runs.map((run) => () => ({
      name: run.case.policy,
      initial: new Uint8Array(blocks.length),
      steps: stepsOf(run, blocks),
      labels: LABELS,
      window,
      intervals: bandOf(run.spans),
    })),
  );
  const cellBytes = runs[0]!.blockBytes;
  return {
    leftOut,
    section: {
      kind: "map",
      title: "The added memory, block by block",
      text: "As it was seen from outside in the guest's RAM. Memory that was there at the boot is not drawn: before the first plug an audit found all of it described.",
      cellBytes,
      regions: regionsOf(blocks).map(({ first, count }) => ({
        start: BigInt(first) * BigInt(cellBytes),
        cells: count,
      })),
      words: {
        held: "online and described",
        missing: "online, not described: a dump would lack it",
        described: "there and described, not online",
        backed: "there, not online, not described",
        none: "nothing there yet",
      },
      runs: maps,
    },
  };
}

function numbersOf({ first, count }: BlockRun): readonly number[] {
  return Array.from({ length: count }, (_, i) => first + i);
}

function regionsOf(blocks: readonly number[]): readonly BlockRun[] {
  const regions: { first: number; count: number }[] = [];
  for (const block of blocks) {
    const last = regions.at(-1);
    if (last && last.first + last.count === block) last.count++;
    else regions.push({ first: block, count: 1 });
  }
  return regions;
}

/** Something that was seen, in the order in which things at one look are told. */
interface Seen {
  readonly at: number;
  readonly label: Label;
  readonly number: number;
  readonly does: () => void;
}

const THERE = 1;
const ONLINE = 2;
const DESCRIBED = 4;

/** What a block is, as the place of its class. */
const CLASS_OF: readonly number[] = Array.from({ length: 8 }, (_, bits) => {
  const described = (bits & DESCRIBED) !== 0;
  const online = (bits & ONLINE) !== 0;
  const name: CellClass =
    (bits & THERE) === 0
      ? "none"
      : online
        ? described
          ? "held"
          : "missing"
        : described
          ? "described"
          : "backed";
  return CELL_CLASSES.indexOf(name);
});

function stepsOf(run: KnownMemory, blocks: readonly number[]): readonly MapStep[] {
  const places = new Map(blocks.map((block, place) => [block, place]));
  const bits = new Uint8Array(blocks.length);
  const set = (numbers: readonly number[], bit: number): void => {
    for (const number of numbers) bits[places.get(number)!]! |= bit;
  };
  const describe = (described: readonly BlockRun[]): void => {
    for (let i = 0; i < bits.length; i++) bits[i]! &= ~DESCRIBED;
    set(described.flatMap(numbersOf), DESCRIBED);
  };
  describe(run.headers.findLast(({ at }) => at <= 0)?.described ?? []);

  const seen: Seen[] = [
    ...run.plugs.map(({ at }, i) => ({
      at,
      label: 1 as const,
      number: i,
      does: () => set(numbersOf(run.dimms[i]!), THERE),
    })),
    ...onlineLooks(run).map(({ at, blocks: came }) => ({
      at,
      label: came.length === 1 ? (2 as const) : (3 as const),
      number: came.length === 1 ? came[0]! : came.length,
      does: () => set(came, ONLINE),
    })),
    ...run.headers
      .filter(({ at }) => at > 0)
      .map(({ at, described }) => ({ at, label: 4 as const, number: 0, does: () => describe(described) })),
    ...blindTurns(run.spans),
  ];
  // Stable: at one look a plug comes before what follows from it.
  seen.sort((a, b) => a.at - b.at);

  let cells = new Uint8Array(blocks.length);
  let condition = conditionAt(run.spans, 0);
  const steps: MapStep[] = [{ at: 0, label: 0, number: 0, condition, changes: [] }];
  for (const [i, { at, label, number, does }] of seen.entries()) {
    does();
    const now = bits.map((each) => CLASS_OF[each]!);
    // Of what was seen at one look only the last one's condition lasts.
    if (seen[i + 1]?.at !== at) condition = conditionAt(run.spans, at);
    steps.push({ at, label, number, condition, changes: changesBetween(cells, now) });
    cells = now;
  }
  return steps;
}

/** Blocks by the look that first saw them online. */
function onlineLooks({ onlineAt, onlineBlocks }: Pick<KnownMemory, "onlineAt" | "onlineBlocks">): readonly {
  readonly at: number;
  readonly blocks: readonly number[];
}[] {
  const looks: { at: number; blocks: number[] }[] = [];
  for (const [i, at] of onlineAt.entries()) {
    const last = looks.at(-1);
    if (last?.at === at) last.blocks.push(onlineBlocks[i]!);
    else looks.push({ at, blocks: [onlineBlocks[i]!] });
  }
  return looks;
}

function blindTurns(spans: readonly Span[]): readonly Seen[] {
  return spans.flatMap(({ start, state }, i): readonly Seen[] => {
    const isBlind = state === "blind";
    if (i === 0 || isBlind === (spans[i - 1]!.state === "blind")) return [];
    return [{ at: start, label: isBlind ? 5 : 6, number: 0, does: () => undefined }];
  });
}

function conditionAt(spans: readonly Span[], at: number): Span["state"] | undefined {
  return spans.findLast(({ start }) => start <= at)?.state;
}
