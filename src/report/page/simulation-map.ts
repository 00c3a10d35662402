/**
 * The memory of a simulated machine, step by step: what its changes do to each block. The simulation itself keeps
 * counts; here every block is followed, and a test holds the two against each other.
 */
import type { PolicyRun, TimedChange } from "../../simulation/world/run.ts";
import { BLOCK_SIZE } from "../../simulation/dimms.ts";
import type { Change, Condition } from "../../simulation/world/state.ts";
import type { Interval } from "../../simulation/world/timeline.ts";
import { fittingRuns } from "./map-steps.ts";
import { CELL_CLASSES, type CellClass, type MapRun, type MapSection, type MapStep } from "./model.ts";

/** Blocks of a map, at most: above it a cell is several. */
const MAX_CELLS = 8192;

const BACKED = 1;
const ADDED = 2;
const ONLINE = 4;

function rank(name: CellClass): number {
  return CELL_CLASSES.indexOf(name);
}
const NONE = rank("none");
const HAS = rank("backed");
const DESCRIBED = rank("described");
const HELD = rank("held");
const STALE = rank("stale");
const MISSING = rank("missing");

const LABELS = [
  "the machine has booted and its capture kernel is loaded",
  "DIMM {} is plugged: the hypervisor has added it",
  "the kernel has added DIMM {}: it is System RAM now",
  "memory block {} comes online",
  "memory block {} goes offline",
  "DIMM {} is taken out",
  "a CPU comes",
  "a CPU goes",
  "the capture kernel is unloaded",
  "a capture kernel is loaded",
  "the kernel has rewritten the header",
  "the keeper has written the header in place",
  "the kexec lock is taken: a panic starts no capture kernel",
  "the kexec lock is free again",
] as const;

/** One policy's run with all that happened in it. */
export interface TracedRun {
  readonly run: PolicyRun;
  readonly trace: readonly TimedChange[];
  /** The whole window. */
  readonly intervals: readonly Interval[];
}

/**
 * The map of several policies' runs of one scenario.
 *
 * @param window - ms.
 * @returns names of policies that were left out because all would be more than may be; where nothing comes or goes no map.
 */
export function simulationMap(
  bootBlocks: number,
  runs: readonly TracedRun[],
  window: number,
): { readonly section: MapSection | undefined; readonly leftOut: readonly string[] } {
  const blocks = Math.max(0, ...runs.map(({ trace }) => hotBlocks(trace)));
  if (blocks === 0) return { section: undefined, leftOut: [] };
  const perCell = Math.ceil((bootBlocks + blocks) / MAX_CELLS);
  const bootCells = Math.ceil(bootBlocks / perCell);
  const hotCells = Math.ceil(blocks / perCell);
  // What this program does is what a page is opened for; the others in their order.
  const ours = runs.filter(({ run }) => run.policy.name === "in-place");
  const geometry = { blocks, bootBlocks, bootCells, hotCells, perCell, window };
  const { maps, leftOut } = fittingRuns(
    [...ours, ...runs.filter((run) => !ours.includes(run))].map((traced) => () => mapRun(traced, geometry)),
  );
  const cellBytes = Number(BLOCK_SIZE) * perCell;
  return {
    leftOut,
    section: {
      kind: "map",
      title: "Physical memory, step by step",
      cellBytes,
      regions: [
        ...(bootCells > 0 ? [{ title: "boot memory", start: 0n, cells: bootCells }] : []),
        {
          title: "hot-pluggable memory",
          start: BigInt(bootCells) * BigInt(cellBytes),
          cells: hotCells,
        },
      ],
      words: {
        held: "online and described",
        missing: "online, not described: a dump would lack it",
        stale: "described, gone: a dump would claim it",
        described: "there and described, not online",
        backed: "there, not online, not described",
        none: "nothing there",
      },
      runs: maps,
    },
  };
}

interface Geometry {
  readonly blocks: number;
  readonly bootBlocks: number;
  readonly bootCells: number;
  readonly hotCells: number;
  readonly perCell: number;
  readonly window: number;
}

function mapRun({ run, trace, intervals }: TracedRun, geometry: Geometry): MapRun {
  const { bootBlocks, bootCells, hotCells, perCell, window } = geometry;
  const memory = new BlockMemory(geometry.blocks);
  const initial = new Uint8Array(bootCells + hotCells).fill(HELD, 0, bootCells);
  const cells = initial.slice();
  const steps: MapStep[] = [{ at: 0, label: 0, number: 0, condition: "accurate", changes: [] }];
  let interval = 0;
  let last: Condition = "accurate";
  for (const [i, { at, change }] of trace.entries()) {
    const touched = memory.apply(change);
    while (interval < intervals.length - 1 && intervals[interval]!.end <= at) interval++;
    // Of changes at one instant only the last one's condition lasts.
    const settled = trace[i + 1]?.at !== at;
    const now = at >= window ? run.final.condition : intervals[interval]!.condition;
    const condition: Condition = settled ? now : last;
    const changes = touched ? memory.changes(touched, cells, bootCells, perCell) : [];
    const label = labelOf(change);
    if (label === undefined || (changes.length === 0 && condition === last && !tells(change))) continue;
    last = condition;
    steps.push({ at, label, number: numberOf(change, memory, bootBlocks), condition, changes });
  }
  return {
    name: run.policy.name,
    initial,
    steps,
    labels: LABELS,
    window,
    intervals,
  };
}

/** What is told even where it changes neither the map nor what a panic would give. */
function tells({ kind }: Change): boolean {
  return kind === "add-cpu" || kind === "remove-cpu";
}

function labelOf(change: Change): number | undefined {
  switch (change.kind) {
    case "plug":
      return 1;
    case "add":
      return 2;
    case "online":
      return 3;
    case "offline":
      return 4;
    case "remove":
      return 5;
    case "add-cpu":
      return 6;
    case "remove-cpu":
      return 7;
    case "unload":
      return 8;
    case "load":
      return 9;
    case "rewrite":
      return change.by === "kernel" ? 10 : 11;
    case "lock":
      return 12;
    case "unlock":
      return 13;
    case "snapshot":
      return undefined;
  }
}

/** Blocks are named by their address, as the kernel names them (`memory264`). */
function numberOf(change: Change, memory: BlockMemory, bootBlocks: number): number {
  switch (change.kind) {
    case "plug":
    case "add":
    case "remove":
      return change.dimm;
    case "online":
    case "offline":
      return bootBlocks + memory.firstOf(change.dimm) + change.block;
    default:
      return 0;
  }
}

function hotBlocks(trace: readonly TimedChange[]): number {
  return trace.reduce(
    (most, { change }) => (change.kind === "plug" ? Math.max(most, change.first + change.blocks) : most),
    0,
  );
}

interface Touched {
  readonly from: number;
  readonly to: number;
}

/** Every hot-pluggable block: what it is, and whether the header describes it. */
class BlockMemory {
  readonly #blocks: Uint8Array;
  #described: Uint8Array;
  readonly #snapshots = new Map<number, Uint8Array>();
  readonly #dimms = new Map<number, { readonly first: number; readonly blocks: number }>();

  constructor(blocks: number) {
    this.#blocks = new Uint8Array(blocks);
    this.#described = new Uint8Array(blocks);
  }

  firstOf(dimm: number): number {
    return this.#dimms.get(dimm)?.first ?? 0;
  }

  /** @returns the blocks that may be of another class now; undefined where there are none. */
  apply(change: Change): Touched | undefined {
    switch (change.kind) {
      case "plug":
        this.#dimms.set(change.dimm, change);
        return this.#set(change.first, change.blocks, () => BACKED);
      case "add": {
        const { first, blocks } = this.#dimms.get(change.dimm)!;
        return this.#set(first, blocks, (block) => block | ADDED);
      }
      case "online":
      case "offline":
        return this.#set(this.firstOf(change.dimm) + change.block, 1, (block) => block ^ ONLINE);
      case "remove": {
        const { first, blocks } = this.#dimms.get(change.dimm)!;
        return this.#set(first, blocks, () => 0);
      }
      case "snapshot":
        this.#snapshots.set(change.loader, this.#having(ADDED));
        return undefined;
      case "load": {
        const seen = this.#snapshots.get(change.loader)!;
        this.#snapshots.delete(change.loader);
        return this.#describe(seen);
      }
      case "rewrite":
        return this.#describe(this.#having(change.by === "kernel" ? ADDED : BACKED));
      default:
        return undefined;
    }
  }

  /** Brings `cells` up to date. @returns the cells that are of another class. */
  changes({ from, to }: Touched, cells: Uint8Array, bootCells: number, perCell: number): MapStep["changes"] {
    const changes: [number, number, number][] = [];
    for (let cell = Math.floor(from / perCell); cell * perCell < to; cell++) {
      let worst = NONE;
      const end = Math.min(this.#blocks.length, (cell + 1) * perCell);
      for (let block = cell * perCell; block < end; block++) worst = Math.max(worst, this.#classOf(block));
      const place = bootCells + cell;
      if (cells[place] === worst) continue;
      cells[place] = worst;
      const last = changes.at(-1);
      if (last && last[0] + last[1] === place && last[2] === worst) last[1]++;
      else changes.push([place, 1, worst]);
    }
    return changes;
  }

  #classOf(block: number): number {
    const state = this.#blocks[block]!;
    const described = this.#described[block] === 1;
    if (state === 0) return described ? STALE : NONE;
    if ((state & ONLINE) !== 0) return described ? HELD : MISSING;
    return described ? DESCRIBED : HAS;
  }

  #set(first: number, count: number, to: (block: number) => number): Touched {
    for (let i = first; i < first + count; i++) this.#blocks[i] = to(this.#blocks[i]!);
    return { from: first, to: first + count };
  }

  #having(what: number): Uint8Array {
    return this.#blocks.map((block) => ((block & what) === 0 ? 0 : 1));
  }

  #describe(now: Uint8Array): Touched | undefined {
    const before = this.#described;
    this.#described = now;
    let [from, to] = [-1, -1];
    for (let i = 0; i < now.length; i++)
      if (now[i] !== before[i]) {
        if (from < 0) from = i;
        to = i + 1;
      }
    return from < 0 ? undefined : { from, to };
  }
}
