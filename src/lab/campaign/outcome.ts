/** What a panic gave, decided from the capture kernel's side only. Pure. */
import { RangeSet } from "../../layout/range-set.ts";
import { pageDoubts, type PageEvidence } from "../evidence.ts";

/**
 * - `complete`: the dump describes all memory that was online at the panic, has the registers of all CPUs that were,
 *   where that was looked at, and pages that were read are equal;
 * - `incomplete`: a dump without some of it, or with pages that cannot be read or differ;
 * - `no-dump`: no capture kernel came up, or it had no /proc/vmcore.
 */
export type Outcome = "complete" | "incomplete" | "no-dump";

/** What the dead kernel left in its RAM. */
export interface LastState {
  /** Whether `kexec_crash_image` pointed to an image. */
  readonly image: boolean;
  /** Whether the kexec lock was held; a kernel that starts its capture kernel has taken it itself. */
  readonly locked: boolean;
  /** Whether a CPU's note was filled: `__crash_kexec` has that done once it has the lock. */
  readonly saved: boolean;
}

/**
 * Why there is no dump:
 *
 * - `not-loaded`: at that moment no capture kernel was loaded;
 * - `lock-held`: somebody else held the kexec lock, so that `__crash_kexec` gave up: a load, an unload, or, from 6.6 on
 *   and with an image loaded by kexec_file_load, the kernel's own handler of memory changes;
 * - `unknown`: neither.
 */
export type Cause = "not-loaded" | "lock-held" | "unknown";

/** Finds the cause of a dump that is missing. */
export function causeOf({ image, locked, saved }: LastState): Cause {
  if (saved) return "unknown";
  if (locked) return "lock-held";
  return image ? "unknown" : "not-loaded";
}

const CAUSE_WORDS: Readonly<Record<Cause, string>> = {
  "not-loaded": "no capture kernel was loaded at that moment",
  "lock-held": "somebody else in the kernel held the kexec lock at that moment",
  unknown: "why is not known",
};

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
  /** Only where there is no dump. */
  readonly cause?: Cause | undefined;
  /** Pages of added memory that were compared; empty where none were. */
  readonly pages: readonly PageEvidence[];
  /** Where the trial has to do with CPUs. */
  readonly cpus?: CpuEvidence | undefined;
}

/** CPUs that were online at the panic, and those whose registers the dump has. */
export interface CpuEvidence {
  readonly online: number;
  readonly dumped: number;
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
export function judgeTrial(seen: Seen): Judged {
  const { captured, described, online, backed, cause = "unknown", pages, cpus } = seen;
  if (described === undefined) {
    const reason = captured
      ? "The capture kernel has no /proc/vmcore"
      : `No capture kernel came up: ${CAUSE_WORDS[cause]}`;
    return { outcome: "no-dump", reasons: [reason], missing: RangeSet.empty, claimed: RangeSet.empty };
  }
  const missing = online.subtract(described);
  const reasons = missing.isEmpty ? [] : [`The dump does not describe ${missing.toString()}`];
  if (cpus && cpus.dumped < cpus.online)
    reasons.push(`The dump has the registers of ${cpus.dumped} of ${cpus.online} CPUs that were online`);
  for (const evidence of pages) {
    const { range, sampled, nonZero } = evidence;
    const where = RangeSet.of([range]).toString();
    reasons.push(...pageDoubts(evidence));
    if (nonZero < sampled)
      reasons.push(`${sampled - nonZero} of ${sampled} pages of ${where} held no data: they prove nothing`);
  }
  const outcome = reasons.length === 0 ? "complete" : "incomplete";
  return { outcome, reasons, missing, claimed: described.subtract(backed) };
}
