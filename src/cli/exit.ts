/** Exit codes, the same for every command. */
import { CoreHeaderError } from "../elfcore/error.ts";
import { ImageError, type ImageErrorKind } from "../image/error.ts";
import { FetchError, SupplyError } from "../lab/fetch/errors.ts";
import { ResultsError } from "../lab/campaign/results.ts";
import { GuestCommandError } from "../lab/errors.ts";
import type { Verdict } from "../keeper/audit.ts";
import { FullLoadError } from "../keeper/inside.ts";
import { JournalReadError } from "../keeper/journal/read.ts";
import { isLoss } from "../keeper/machine.ts";
import { ListenError } from "../keeper/metrics/listen-address.ts";
import { PlugSizeError, UnfinishedPlugError } from "../keeper/plug.ts";
import { UnfinishedRemovalError, UnknownDeviceError } from "../keeper/unplug.ts";
import { ServiceConfigError } from "../keeper/service/config.ts";
import { SimulationError } from "../simulation/error.ts";
import { HeaderFileError } from "../targets/file.ts";
import { LibvirtError, type LibvirtErrorKind } from "../targets/libvirt/error.ts";
import { PlugError } from "../targets/qemu/plug.ts";
import { QmpConnectError } from "../targets/qemu/qmp-errors.ts";
import { RunStateError } from "../targets/qemu/run-state.ts";
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
 * and `SuppressedError` from `await using`): what was left half done comes first, then the loss of the guest, which
 * explains the rest; else the first came first.
 */
export function mainError(error: unknown): unknown {
  const errors = parts(error);
  return errors.find(isLeftHalfDone) ?? errors.find(isLoss) ?? errors[0];
}

/** Whether `error` says that something was changed and not brought to its end, which has to be told in any case. */
export function isLeftHalfDone(error: unknown): boolean {
  return (
    (error instanceof ImageError && error.kind === "half-written") ||
    (error instanceof UnfinishedPlugError && !error.described) ||
    (error instanceof UnfinishedRemovalError && (error.stage === "asked" || error.stage === "removed")) ||
    error instanceof RunStateError ||
    error instanceof FullLoadError
  );
}

/** Every error that `error` is made of. */
export function parts(error: unknown): readonly unknown[] {
  if (error instanceof AggregateError) return error.errors.flatMap(parts);
  // Node 20 has no SuppressedError: the compiler's helper names one so.
  if (error instanceof Error && error.name === "SuppressedError" && "suppressed" in error && "error" in error)
    return [...parts(error.suppressed), ...parts(error.error)];
  return [error];
}

/** What is wrong with the target, or with what is installed; the rest is libvirt's state. */
const MISTAKES: readonly LibvirtErrorKind[] = ["no-virsh", "remote", "not-qemu", "absent", "not-running"];

/** The exit code of a command that ended with `error`. */
export function exitOfError(error: unknown): number {
  if (error instanceof UsageError || error instanceof TargetError || error instanceof HeaderFileError)
    return EXIT.usage;
  if (error instanceof ListenError) return EXIT.usage;
  if (error instanceof SimulationError || error instanceof ResultsError) return EXIT.usage;
  if (error instanceof JournalReadError)
    return error.cause === undefined || isMissingFile(error.cause) ? EXIT.usage : EXIT.unknown;
  if (error instanceof CoreHeaderError || error instanceof SupplyError || error instanceof FetchError)
    return EXIT.usage;
  if (error instanceof QmpConnectError)
    return error.kind === "busy" || error.kind === "denied" ? EXIT.unknown : EXIT.usage;
  if (error instanceof ServiceConfigError) return EXIT.usage;
  if (error instanceof LibvirtError) return MISTAKES.includes(error.kind) ? EXIT.usage : EXIT.unknown;
  if (error instanceof PlugSizeError || error instanceof UnknownDeviceError) return EXIT.usage;
  const unfinished = error instanceof UnfinishedPlugError || error instanceof UnfinishedRemovalError;
  if (isLoss(error) || (unfinished && isLoss(error.cause))) return EXIT.lost;
  if (unfinished || error instanceof PlugError || error instanceof FullLoadError) return EXIT.no;
  if (error instanceof ImageError) {
    if (error.kind === "not-a-core-header") return EXIT.usage;
    const answers: readonly ImageErrorKind[] = ["header-too-large", "unsafe-rearm", "changed"];
    return answers.includes(error.kind) ? EXIT.no : EXIT.unknown;
  }
  if (error instanceof GuestCommandError) return EXIT.no;
  return isMissingFile(error) ? EXIT.usage : EXIT.unknown;
}

/** What is told of a command that ended with `thrown`, and its exit code. */
export function ending(
  thrown: unknown,
  interrupted: boolean,
): { readonly text: string; readonly code: number } {
  const error = mainError(thrown);
  // What an interrupted command ends with is of our own making, but not what it left half done.
  if (interrupted && !isLeftHalfDone(error))
    return { text: "Interrupted; nothing was left half done", code: EXIT.interrupted };
  const message = error instanceof Error ? error.message : String(error);
  const lost = parts(thrown).find((part) => part !== error && isLoss(part));
  const text = lost instanceof Error ? `${message}; and the guest was lost: ${lost.message}` : message;
  const code = lost === undefined ? exitOfError(error) : EXIT.lost;
  // On Ctrl-C it was we who closed the connection.
  return { text, code: interrupted && code === EXIT.lost ? EXIT.interrupted : code };
}

function isMissingFile(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "EISDIR");
}
