/** Reasons as labels: a few fixed words. A sentence would make a series of its own for each address that it names. */
import { CoreHeaderError } from "../../elfcore/error.ts";
import { ImageError } from "../../image/error.ts";
import { MemoryAccessError } from "../../image/memory.ts";
import { isLoss } from "../machine.ts";

/**
 * Errors of the rooms below this one, by the names that they carry, since their classes cannot be imported from here.
 * test/keeper/metrics/reasons.test.ts asks with the real ones.
 */
const BY_NAME: readonly (readonly [RegExp, string])[] = [
  [/^KeeperBusyError$/, "busy"],
  [/^RunStateError$/, "run-state"],
  [/^(?:GuestMemory|Pmemsave|RamFile|FlatView)Error$/, "memory"],
  [/^Gdb/, "gdb"],
  [/^Qmp/, "qmp"],
];

const OTHER = "other";

/** The class of what a look or an install failed by. */
export function failureReason(error: unknown): string {
  if (error instanceof AggregateError) {
    const classes = error.errors.map(failureReason);
    return classes.find((name) => name === "half-written") ?? classes.find((name) => name !== OTHER) ?? OTHER;
  }
  if (isLoss(error)) return "lost";
  if (error instanceof ImageError) return error.kind;
  if (error instanceof CoreHeaderError) return "forged";
  if (error instanceof MemoryAccessError) return "memory";
  if (!(error instanceof Error)) return OTHER;
  if ("kind" in error && error.kind === "busy") return "busy";
  const known = BY_NAME.find(([name]) => name.test(error.name));
  if (known) return known[1];
  return "code" in error && typeof error.code === "string" && /^E[A-Z0-9]+$/.test(error.code)
    ? "system"
    : OTHER;
}

/** Kinds that only an attempt to install ends with; the others may come from a look as well. */
const OF_INSTALLS: ReadonlySet<string> = new Set([
  "changed",
  "header-too-large",
  "outside-image",
  "panicking",
  "unsafe-rearm",
  "half-written",
]);

/** Whether `reason`, by {@link failureReason}, says that an install was tried. */
export function isOfInstall(reason: string): boolean {
  return OF_INSTALLS.has(reason);
}

/** What `PossibleCpus` and `CpuAudit.unknown` say in words. */
const ADOPT: readonly (readonly [RegExp, string])[] = [
  [/no kernel was found/, "no-kernel"],
  [/per-CPU table was not found/, "no-table"],
  [/per-CPU table is not in RAM/, "table-gone"],
  [/are not where the kernel's per-CPU table/, "notes-elsewhere"],
  [/would not lie in memory/, "outside-ram"],
];

/** The class of why a header cannot be given the notes of all possible CPUs. @param text `CpuAudit.unknown`. */
export function adoptReason(text: string): string {
  return ADOPT.find(([words]) => words.test(text))?.[1] ?? OTHER;
}
