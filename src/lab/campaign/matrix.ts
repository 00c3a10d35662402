/** The matrix: a few fixed changes, each with a panic once all is at rest, or in their midst. */
import { seededRandom } from "../../simulation/random.ts";
import type { Step, TrialPlan } from "./plan.ts";
import { ownGuest, type Task, type Variant } from "./runner.ts";

/** A change, as named on the command line. */
export type ChangeName = "one-dimm" | "three-dimms" | "removed" | "coming-online" | "one-cpu";

/** One row's change. */
export interface MatrixChange {
  readonly name: ChangeName;
  /** For people. */
  readonly title: string;
  readonly steps: readonly Step[];
  /** Whether the panic waits until all is at rest; else it comes within so many milliseconds of the first step. */
  readonly panic: "settled" | { readonly withinMs: number };
}

const LEAD_MS = 150;

function plug(atMs: number, sizeMiB: number): Step {
  return { kind: "plug", atMs: LEAD_MS + atMs, sizeMiB };
}

/** Every change, in the order of the rows. */
export const MATRIX_CHANGES: readonly MatrixChange[] = [
  { name: "one-dimm", title: "one DIMM of 1 GiB added", steps: [plug(0, 1024)], panic: "settled" },
  {
    name: "three-dimms",
    title: "three DIMMs of different size added",
    steps: [plug(0, 512), plug(100, 128), plug(200, 1024)],
    panic: "settled",
  },
  {
    name: "removed",
    title: "two DIMMs added, the first removed",
    steps: [plug(0, 256), plug(100, 512), { kind: "unplug", atMs: LEAD_MS + 200, dimm: 0 }],
    panic: "settled",
  },
  {
    name: "coming-online",
    title: "panic within 1 s of the plug of 1 GiB",
    steps: [plug(0, 1024)],
    panic: { withinMs: 1000 },
  },
  { name: "one-cpu", title: "one CPU added", steps: [{ kind: "plug-cpu", atMs: LEAD_MS }], panic: "settled" },
];

/** Numbers of trials are in results: a change that is added later has its own, from so many on. */
const FIRST_CHANGES = 4;
const LATER = 1_000_000;

/** What a matrix is made of. */
export interface MatrixOptions {
  readonly variants: readonly Variant[];
  readonly changes: readonly ChangeName[];
  /** Panics of each cell. */
  readonly repeat: number;
  readonly seed: number;
}

/** Number of the trial in its variant; the change can be told from it. */
function indexOf(change: number, repeat: number): number {
  return change < FIRST_CHANGES
    ? repeat * FIRST_CHANGES + change
    : (change - FIRST_CHANGES + 1) * LATER + repeat;
}

/** The change that a matrix's trial was of. */
export function changeOf(index: number): MatrixChange {
  const change = index < LATER ? index % FIRST_CHANGES : FIRST_CHANGES - 1 + Math.floor(index / LATER);
  return MATRIX_CHANGES[change] ?? MATRIX_CHANGES[index % FIRST_CHANGES]!;
}

/** Every cell's tasks. Memory goes to the movable zone, so that what is to be removed can be. */
export function matrixTasks({ variants, changes, repeat, seed }: MatrixOptions): readonly Task[] {
  const tasks: Task[] = [];
  const cpus = changes.includes("one-cpu");
  for (const variant of variants) {
    const start = `${variant.kernel} ${variant.load} ${ownGuest(variant)}`;
    for (const [number, change] of MATRIX_CHANGES.entries()) {
      if (!changes.includes(change.name)) continue;
      for (let again = 0; again < repeat; again++) {
        const index = indexOf(number, again);
        tasks.push({ ...variant, plan: planOf(change, index, seed), start, zone: "online_movable", cpus });
      }
    }
  }
  const order = [...new Set(tasks.map((task) => task.start))];
  return tasks.toSorted((a, b) => order.indexOf(a.start) - order.indexOf(b.start));
}

function planOf({ steps, panic }: MatrixChange, index: number, seed: number): TrialPlan {
  const own = (seed ^ Math.imul(index + 1, 0x9e3779b1)) >>> 0;
  const settled = panic === "settled";
  const atMs = settled ? 0 : LEAD_MS + Math.round(seededRandom(own)() * panic.withinMs);
  return {
    index,
    seed: own,
    fresh: false,
    steps,
    panic: { moment: settled ? "after" : "during", atMs, settled },
    pages: true,
  };
}
