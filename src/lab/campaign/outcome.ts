/** What a panic gave, decided from the capture kernel's side only. Pure. */
import { RangeSet } from "../../layout/range-set.ts";
import type { PageEvidence } from "../evidence.ts";

/**
 * - `complete`: the dump describes all memory that was online at the panic, and pages that were read are equal;
 * - `incomplete`: a dump without some of it, or with pages that cannot be read or differ;
 * - `no-dump`: no capture kernel came up, or it had no /proc/vmcore.
 */
export type Outcome = "complete" | "incomplete" | "no-dump";

/** What was seen of one panic. */
export interface Seen {
  /** Whether the capture kernel's shell reported. */
  readonly captured: boolean;
  /** What /proc/vmcore describes; undefined where there is none. */
  readonly described: RangeSet | undefined;
  /** What the first kernel had online when it died. */
  readonly online: RangeSet;
  /** What exists at that time: boot RAM as the first header described it, and memory devices. */
  readonly backed: RangeSet;
  /** Pages of added memory that were compared; empty where none were. */
  readonly pages: readonly PageEvidence[];
}

/** The verdict on one panic. */
export interface Judged {
  readonly outcome: Outcome;
  /** Why it is not complete; empty where it is. */
  readonly reasons: readonly string[];
  /** Online and not in the dump; empty where there is none. */
  readonly missing: RangeSet;
  /** In the dump and not there: a removed DIMM. The dump is complete all the same. */
  readonly claimed: RangeSet;
}

/** Judges one panic. */
export function judgeTrial({ captured, described, online, backed, pages }: Seen): Judged {
  if (described === undefined) {
    const reason = captured ? "The capture kernel has no /proc/vmcore" : "No capture kernel came up";
    return { outcome: "no-dump", reasons: [reason], missing: RangeSet.empty, claimed: RangeSet.empty };
  }
  const missing = online.subtract(described);
  const reasons = missing.isEmpty ? [] : [`The dump does not describe ${missing.toString()}`];
  for (const { range, sampled, unreadable, different, nonZero } of pages) {
    const where = RangeSet.of([range]).toString();
    if (unreadable > 0)
      reasons.push(`${unreadable} of ${sampled} pages of ${where} cannot be read from the dump`);
    if (different > 0)
      reasons.push(`${different} of ${sampled} pages of ${where} differ from the guest's memory`);
    if (nonZero < sampled)
      reasons.push(`${sampled - nonZero} of ${sampled} pages of ${where} held no data: they prove nothing`);
  }
  const outcome = reasons.length === 0 ? "complete" : "incomplete";
  return { outcome, reasons, missing, claimed: described.subtract(backed) };
}
