/** A map's run as numbers, and what is to be seen of it first. */
import { CELL_CLASSES, type MapRun } from "./model.ts";
import type { RunData, RunSteps } from "./shared.ts";

/** Conditions by their number; what is not known comes after them. */
export const CONDITIONS = ["accurate", "stale", "blind"] as const;

/** See {@link RunData}. */
export function packRun({ name, initial, steps, labels, window }: MapRun): RunData {
  const packed: number[] = [];
  let last = 0;
  for (const { at, label, number, condition, changes } of steps) {
    const now = Math.round(at * 10);
    const known = condition === undefined ? 3 : CONDITIONS.indexOf(condition);
    packed.push(now - last, label, number, known, changes.length, ...changes.flat());
    last = now;
  }
  const runs: number[] = [];
  for (let i = 0; i < initial.length;) {
    let end = i + 1;
    while (end < initial.length && initial[end] === initial[i]) end++;
    runs.push(end - i, initial[i]!);
    i = end;
  }
  const bytes = steps.some((step) => step.bytes) ? steps.map((step) => step.bytes ?? []) : [];
  return { name, initial: runs, steps: packed, labels, window: window ?? 0, bytes };
}

/** The first step at which most is missing, else most is stale, else the last one: what somebody opens a page for. */
export function worstStep(steps: RunSteps, { steps: own }: MapRun, cellBytes: number): number {
  let worst = steps.count - 1;
  let most = 0;
  const [stale, missing] = [CELL_CLASSES.indexOf("stale"), CELL_CLASSES.indexOf("missing")];
  for (let step = 0; step < steps.count; step++) {
    if (own[step]!.changes.length === 0 && own[step]!.bytes === undefined) continue;
    const bytes = own[step]!.bytes ?? countBytes(steps.cells(step), cellBytes);
    const wrong = bytes[missing]! + bytes[stale]! / 1e6;
    if (wrong > most) [worst, most] = [step, wrong];
  }
  return worst;
}

export function countBytes(cells: Uint8Array, cellBytes: number): readonly number[] {
  const bytes = CELL_CLASSES.map(() => 0);
  for (const cell of cells) bytes[cell]! += cellBytes;
  return bytes;
}
