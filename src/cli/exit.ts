/** Exit codes, the same for every command. */
import { CoreHeaderError } from "../elfcore/error.ts";
import { ImageError } from "../image/error.ts";
import { FetchError, SupplyError } from "../lab/fetch/errors.ts";
import { GuestCommandError, LostGuestError } from "../lab/errors.ts";
import type { Verdict } from "../keeper/audit.ts";
import { SimulationError } from "../simulation/error.ts";
import { HeaderFileError } from "../targets/file.ts";
import { QmpClosedError, QmpConnectError, QmpTimeoutError } from "../targets/qemu/qmp-errors.ts";
import { TargetError } from "../targets/target.ts";

/** What each exit code says; docs and help show this table. */
export const EXIT = {
  /** Yes, or done. */
  yes: 0,
  /** No: inaccurate, or a check failed. */
  no: 1,
  /** Usage, or bad input. */
  usage: 2,
  /** It cannot be told: no privilege, nothing loaded to look at, not supported there. */
  unknown: 3,
  /** The guest was lost. */
  lost: 128,
  /** Interrupted. */
  interrupted: 130,
} as const;

/** Raised for options that contradict each other or cannot be read. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The exit code that a verdict stands for. */
export function exitOfVerdict(verdict: Verdict): number {
  return {
    accurate: EXIT.yes,
    inaccurate: EXIT.no,
    broken: EXIT.no,
    "not-loaded": EXIT.unknown,
    unknown: EXIT.unknown,
  }[verdict];
}

/**
 * The one error to tell of `error`. What fails while a failure is cleaned up after comes as a pair (`AggregateError`,
 * and `SuppressedError` from `await using`): the loss of the guest explains the rest, else the first came first.
 */
export function mainError(error: unknown): unknown {
  const errors = parts(error);
  return errors.find(isLoss) ?? errors[0];
}

function parts(error: unknown): readonly unknown[] {
  if (error instanceof AggregateError) return error.errors.flatMap(parts);
  // Node 20 has no SuppressedError: the compiler's helper names one so.
  if (error instanceof Error && error.name === "SuppressedError" && "suppressed" in error && "error" in error)
    return [...parts(error.suppressed), ...parts(error.error)];
  return [error];
}

/** QEMU has ended, or does not answer any more. */
function isLoss(error: unknown): boolean {
  return (
    error instanceof QmpClosedError || error instanceof QmpTimeoutError || error instanceof LostGuestError
  );
}

/** The exit code of a command that ended with `error`. */
export function exitOfError(error: unknown): number {
  if (error instanceof UsageError || error instanceof TargetError || error instanceof HeaderFileError)
    return EXIT.usage;
  if (error instanceof SimulationError) return EXIT.usage;
  if (error instanceof CoreHeaderError || error instanceof SupplyError || error instanceof FetchError)
    return EXIT.usage;
  if (error instanceof QmpConnectError)
    return error.kind === "busy" || error.kind === "denied" ? EXIT.unknown : EXIT.usage;
  if (isLoss(error)) return EXIT.lost;
  if (error instanceof ImageError) {
    if (error.kind === "not-a-core-header") return EXIT.usage;
    return error.kind === "header-too-large" || error.kind === "changed" ? EXIT.no : EXIT.unknown;
  }
  if (error instanceof GuestCommandError) return EXIT.no;
  return isMissingFile(error) ? EXIT.usage : EXIT.unknown;
}

function isMissingFile(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "EISDIR");
}
