/** The port through which a keeper tells what it is about to write, before the machine is paused for it. */
import { encodeCoreHeader } from "../elfcore/encode.ts";
import { decodeCoreHeader } from "../elfcore/decode.ts";
import { type CoreHeader, coreHeaderSize } from "../elfcore/header.ts";
import { ImageError } from "../image/error.ts";
import type { CaptureImage } from "../image/locate.ts";
import type { WritePlan } from "../image/plan.ts";
import type { RangeSet } from "../layout/range-set.ts";
import type { InstallReport } from "./install.ts";
import { isLoss, type Machine } from "./machine.ts";

/** Why something is installed. */
export interface InstallCause {
  /** `reconcile`: the header is not what it should be; `make-room`: it moves to where it can grow; `plug`: a device is added in the same pause. */
  readonly why: "reconcile" | "make-room" | "plug";
  /** Memory that the header lacked, and memory that it described and that is gone. */
  readonly missing: RangeSet;
  readonly stale: RangeSet;
  /** CPUs that were there; undefined where nobody has asked. */
  readonly presentCpus: number | undefined;
}

/** What is about to be done to one image. */
export interface InstallIntent {
  readonly image: CaptureImage;
  readonly cause: InstallCause;
  /** Undefined where the writes depend on what happens in the pause; then {@link OpenInstall.planned} tells. */
  readonly plan: WritePlan | undefined;
  /** Whether the machine ran: then the pause is ours. Undefined where that cannot be told. */
  readonly wasRunning: boolean | undefined;
}

/** An install that has been told of and has not ended. */
export interface OpenInstall {
  /** The writes of an intent that had none; to be awaited before the first of them. Short: the machine stands still. */
  planned(plan: WritePlan): Promise<void>;
  /** It is installed and read back. */
  installed(report: InstallReport): void;
  /** Nothing of it is in the image. */
  undone(error: unknown): void;
  /** It cannot be told what is in the image: whoever comes next has to look. */
  leftOpen(error: unknown): void;
}

/** Whoever puts it down. Nothing in here throws, and every wait has a limit: a full disk is no reason not to install. */
export interface InstallLog {
  /** Returns when the intent is safe, or cannot be made safe in a short time. */
  intend(intent: InstallIntent): Promise<OpenInstall>;
}

/** What an install needs to be told of. */
export interface Logged {
  readonly log: InstallLog;
  readonly cause: InstallCause;
}

/** Opens an install in `logged.log`; undefined where nobody wants to know. */
export async function intend(
  machine: Machine,
  logged: Logged | undefined,
  image: CaptureImage,
  plan: WritePlan | undefined,
): Promise<OpenInstall | undefined> {
  if (!logged) return undefined;
  // A machine that does not answer is met again by the pause, which tells of it better.
  const wasRunning = await machine.isRunning?.().catch(() => undefined);
  return logged.log.intend({ image, cause: logged.cause, plan, wasRunning });
}

/** Closes an install that ended with `error`. */
export function endedWith(open: OpenInstall | undefined, error: unknown): void {
  if (!open) return;
  // Without the machine nobody knows how far the writes came, and the pause may not have been ended.
  if (isLoss(error) || isHalfWritten(error)) open.leftOpen(error);
  else open.undone(error);
}

function isHalfWritten(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.some(isHalfWritten);
  return error instanceof ImageError && error.kind === "half-written";
}

/** A core header and where it lies. */
export interface PlacedHeader {
  readonly address: bigint;
  readonly header: CoreHeader;
}

/** The header of `image`, as it was found. */
export function headerOf({ headerAddress, header }: CaptureImage): PlacedHeader {
  return { address: headerAddress, header };
}

/** Where the header of `image` is after `plan`, and what it says; undefined where the plan does not touch it. */
export function headerAfter(
  image: CaptureImage,
  { writes }: Pick<WritePlan, "writes">,
): PlacedHeader | undefined {
  const whole = writes.find(({ what }) => what === "header");
  if (whole) return { address: whole.address, header: decodeCoreHeader(whole.after) };
  const end = writes.reduce(
    (top, { address, after }) => {
      const reach = address + BigInt(after.length) - image.headerAddress;
      return reach > top ? reach : top;
    },
    BigInt(coreHeaderSize(image.header.programHeaders.length)),
  );
  const parts = writes.filter(({ what }) => what === "program-headers" || what === "e_phnum");
  if (parts.length === 0) return undefined;
  const bytes = new Uint8Array(Number(end));
  bytes.set(encodeCoreHeader(image.header));
  for (const { address, after } of parts) bytes.set(after, Number(address - image.headerAddress));
  return { address: image.headerAddress, header: decodeCoreHeader(bytes) };
}
