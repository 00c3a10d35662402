/** The time that whoever watches from outside needs: from a device that somebody else plugs to the header. Pure. */
import type { TrialRecord } from "./results.ts";

/** Whether the panic came after a plug had begun and before a header had been installed since. */
export function fellIntoGap({ steps, installs, panickedMs }: TrialRecord): boolean {
  return steps.some(
    ({ what, at }) =>
      what.startsWith("plug ") &&
      at <= panickedMs &&
      !installs.some((install) => at <= install.at && install.at <= panickedMs),
  );
}

/** Every reaction time, ascending, milliseconds: from the first sight of a change to the header that says so. */
export function reactionsOf(trials: readonly TrialRecord[]): readonly number[] {
  return trials
    .flatMap(({ installs }) => installs.flatMap(({ reactionMs }) => reactionMs ?? []))
    .toSorted((a, b) => a - b);
}

/** The value that a share of `ascending` does not exceed (nearest rank); undefined where there is none. */
export function percentile(ascending: readonly number[], share: number): number | undefined {
  return ascending[Math.max(0, Math.ceil(ascending.length * share) - 1)];
}
