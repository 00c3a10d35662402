/** Stops and starts a guest, and leaves one that did not run before as it was. */
import { finishing } from "./finishing.ts";
import { QmpTimeoutError } from "./qmp-errors.ts";
import type { QmpEvent } from "./qmp-message.ts";
import type { QmpSession } from "./qmp-session.ts";
import { queryMigration, queryStatus, type RunState } from "./replies.ts";

/** What `pauseGuest` found, for `resumeGuest`. */
export interface PauseToken {
  readonly wasRunning: boolean;
  /** What the guest is in now that it stands still: nobody has to ask again in the pause. */
  readonly state: RunState;
  /** When the guest stopped, microseconds of QEMU's host clock; `undefined` where it did not run. */
  readonly stoppedAt: number | undefined;
  /** To be awaited before anything is written: rejected where its memory is being moved since it was asked for before. */
  readonly unmoved: Promise<void>;
}

/** A guest could not be brought back to the run state that it had. */
export class RunStateError extends Error {
  override readonly name = "RunStateError";
}

/** `stop` waits for the running translation block and for outstanding disk requests. */
const STOP_TIMEOUT_MS = 10_000;

const microseconds = (event: QmpEvent): number =>
  event.timestamp.seconds * 1_000_000 + event.timestamp.microseconds;

/**
 * Whether the guest may be stopped, and what it is in.
 *
 * @throws {RunStateError} where its memory is being copied.
 */
export async function askPermit(qmp: QmpSession): Promise<RunState> {
  const [state] = await Promise.all([queryStatus(qmp), assertNotMigrating(qmp)]);
  return state;
}

/**
 * Stops the guest where it runs, and waits until QEMU says so.
 *
 * Once `stop` was sent it may take effect at any later time. QEMU runs commands in order: where anything fails after
 * it, `cont` is sent behind it, so that a guest which ran runs again.
 *
 * @param permit as {@link askPermit} was answered shortly before: it is the event that says whether it was we who stopped it.
 * @param stopping called right before `stop` is sent, where the guest runs.
 * @throws what `permit` is rejected with; then nothing was sent.
 */
export async function pauseGuest(
  qmp: QmpSession,
  permit: Promise<RunState>,
  stopping: () => void = () => undefined,
): Promise<PauseToken> {
  const before = await permit;
  if (!before.running)
    return { wasRunning: false, state: before, stoppedAt: undefined, unmoved: Promise.resolve() };
  stopping();
  try {
    const stop = transition(qmp, "STOP", "stop");
    // Sent behind it at once: answered while the guest stands still, when QEMU has nothing else to do.
    const unmoved = qmp.eventsInOrder ? assertNotMigrating(qmp) : Promise.resolve();
    unmoved.catch(() => undefined);
    const { state, event } = await stop;
    return {
      // Who stopped it between question and command wants it stopped. Where events may be late, that is not known.
      wasRunning: event !== undefined || !qmp.eventsInOrder,
      state,
      stoppedAt: event === undefined ? undefined : microseconds(event),
      unmoved,
    };
  } catch (error) {
    if (!qmp.isOpen) throw error;
    const fail = async (): Promise<never> => await Promise.reject(asError(error));
    return await finishing(fail, async () => await letRun(qmp)).catch((both: unknown) => {
      if (!(error instanceof QmpTimeoutError && both instanceof AggregateError)) throw both;
      throw new QmpTimeoutError(
        `${error.message}; "cont" was sent behind it, so the guest runs again when QEMU does`,
        error.timeoutMs,
      );
    });
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

/** Sends `cont`, and sees to it that QEMU gets to read it, however late. */
export async function letRun(qmp: QmpSession): Promise<void> {
  try {
    await qmp.execute("cont", {}, { timeoutMs: STOP_TIMEOUT_MS });
  } catch (error) {
    if (error instanceof QmpTimeoutError) qmp.leave();
    throw error;
  }
}

/**
 * Starts the guest where the token says that it ran before.
 *
 * @returns how long it stood still, microseconds between STOP and RESUME; `undefined` where it was not started.
 */
export async function resumeGuest(qmp: QmpSession, token: PauseToken): Promise<number | undefined> {
  if (!token.wasRunning) return undefined;
  let event: QmpEvent | undefined;
  try {
    ({ event } = await transition(qmp, "RESUME", "cont"));
  } catch (error) {
    if (error instanceof QmpTimeoutError) qmp.leave();
    throw error;
  }
  if (event === undefined || token.stoppedAt === undefined) return undefined;
  return microseconds(event) - token.stoppedAt;
}

/** QEMU sends the event before it answers the command; this much later it will not come any more. */
const EVENT_GRACE_MS = 50;

/** Runs a command and waits for its event; none comes where the guest is in that state already. */
async function transition(
  qmp: QmpSession,
  event: "STOP" | "RESUME",
  command: "stop" | "cont",
): Promise<{ readonly state: RunState; readonly event: QmpEvent | undefined }> {
  let seen: QmpEvent | undefined;
  let wake: (() => void) | undefined;
  const forget = qmp.onEvent((each) => {
    if (each.event !== event) return;
    seen = each;
    wake?.();
  });
  const arrival = async (): Promise<void> => {
    if (seen !== undefined) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, EVENT_GRACE_MS);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  };
  try {
    await qmp.execute(command, {}, { timeoutMs: STOP_TIMEOUT_MS });
    // An event that may come after the reply is about to: to wait for it is cheaper than to ask.
    if (!qmp.eventsInOrder) await arrival();
    // The event says that it happened; only without one is it worth asking, which would lengthen the pause.
    if (seen !== undefined) {
      const running = command === "cont";
      return { state: { status: running ? "running" : "paused", running }, event: seen };
    }
    const now = await queryStatus(qmp);
    if (now.running !== (command === "cont")) {
      throw new RunStateError(
        `Guest is "${now.status}" after "${command}": look at QEMU's log for the reason`,
      );
    }
    await arrival();
    return { state: now, event: seen };
  } finally {
    forget();
  }
}

/** States in which a guest's memory must not be touched: it is being moved or filled. */
const MOVING: ReadonlySet<string> = new Set(["inmigrate", "finish-migrate", "restore-vm", "save-vm", "colo"]);

/** @throws {RunStateError} where memory is being migrated, saved or restored. */
export function assertNotMoving(state: RunState): void {
  if (MOVING.has(state.status)) {
    throw new RunStateError(
      `Guest is in state "${state.status}": its memory is being moved; try again afterwards`,
    );
  }
}

/** What a migration may have said last that is none any more, or not yet (qapi/migration.json, MigrationStatus). */
const NOT_MIGRATING: ReadonlySet<string> = new Set(["none", "cancelled", "completed", "failed"]);

/**
 * While its memory is copied, to another host or to a file (libvirt's save is that too), a guest runs on for most of the
 * time; but what is written to a shared file is not in QEMU's log of changes: the copy would have a part of it.
 *
 * @throws {RunStateError} where that is under way.
 */
async function assertNotMigrating(qmp: QmpSession): Promise<void> {
  const status = await queryMigration(qmp);
  if (status !== undefined && !NOT_MIGRATING.has(status)) {
    throw new RunStateError(
      `Guest is being migrated or saved (QEMU says "${status}"); nothing was written, try again afterwards`,
    );
  }
}

/**
 * Brings a guest back to `before` after a gdbstub session.
 *
 * Only what such a session does is undone: it stops a running guest (`paused`, from `suspended` too), and its
 * `D` starts one that did not run. A guest that has meanwhile panicked or shut down is left alone.
 */
export async function restoreRunState(qmp: QmpSession, before: RunState): Promise<void> {
  const now = await queryStatus(qmp);
  if (now.running === before.running && (now.status === before.status || now.running)) return;
  if (before.running || before.status === "suspended") {
    if (now.status === "paused" || now.status === "debug") await letRun(qmp);
  } else if (now.running) {
    await qmp.execute("stop");
  }
}
