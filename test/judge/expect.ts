/** What every course must show, on a real kernel and on a simulated one alike. */
import { expect } from "vitest";
import type { Judgement } from "./judge.ts";
import type { LayoutCourse } from "./layouts.ts";

/** Ours equals the kernel's after every change; as it is wherever nothing named stands in between. */
export function expectEqualHeaders({ steps }: LayoutCourse, judgements: readonly Judgement[]): void {
  for (const [index, judgement] of judgements.entries()) {
    const { step, dimms, touching, equal, equalButForTheNamed, stale, missing } = judgement;
    const what = `change ${index} (${JSON.stringify(step)}, ${dimms} DIMMs)`;
    expect.soft(equalButForTheNamed, what).toEqual({ fromBefore: true, fromLoad: true });
    expect.soft(missing.ranges, what).toEqual([]);
    // `removed`: exactly what this change removed is stale in the kernel's header, and only until the next change.
    const removed = "remove" in step ? BigInt(addOf(steps, step.remove)) << 20n : 0n;
    expect.soft(stale.bytes, what).toBe(removed);
    // Without either difference there is nothing to undo: the bytes are the kernel's as they are.
    expect.soft(equal.fromLoad, what).toBe(!touching && stale.isEmpty);
    // The differences are real: where they apply, the bytes do differ.
    if (stale.isEmpty && !touching) expect.soft(equal.fromBefore, what).toBe(true);
    if (!stale.isEmpty) expect.soft(equal.fromBefore, what).toBe(false);
  }
}

function addOf(steps: LayoutCourse["steps"], number: number): number {
  const step = steps.filter((each) => "add" in each)[number];
  if (step === undefined) throw new Error(`No change number ${number} adds a DIMM`);
  return step.add;
}
