/** A way to QEMU's monitor, whoever owns its socket: we (qmp.ts), or libvirt. */
import type { QmpClosedError } from "./qmp-errors.ts";
import type { Resumable } from "./pause-witness.ts";
import type { QmpEvent } from "./qmp-message.ts";
import type { QemuProcess } from "./qemu-process.ts";

/** Limits of one command or wait. */
export interface QmpWaitOptions {
  /** Milliseconds; 10 s unless told. */
  readonly timeoutMs?: number;
}

/** Commands to one QEMU, and its events. It leads to one process; when that ends, it ends. Close it. */
export interface QmpSession extends AsyncDisposable {
  /** Settles when the session has ended, with the reason. Never rejects. */
  readonly closed: Promise<QmpClosedError>;
  /** True until it has ended. */
  readonly isOpen: boolean;
  /** How another process can resume the guest. */
  readonly resumable: Resumable;
  /** Whether listeners have an event before the reply to any command that QEMU ran after it. */
  readonly eventsInOrder: boolean;
  /** How often QEMU may be asked for changes of which it sends no event, milliseconds. */
  readonly pollMs: number;

  /**
   * The QEMU process: empty where it cannot be seen.
   *
   * @param proc where procfs is mounted.
   */
  qemuProcesses(proc?: string): Promise<readonly QemuProcess[]>;

  /**
   * Runs one command; commands run in the order in which they are given.
   *
   * Integers of the reply beyond 2^53 are `bigint`, others `number`; `bigint` arguments go out as integers.
   * The reply's shape is not checked here: everything that QEMU says is to be validated by the caller.
   *
   * @throws {QmpCommandError} where QEMU refuses it.
   * @throws {QmpClosedError} where the session has ended or ends before the reply.
   * @throws {QmpTimeoutError} where no reply comes in time; the command may still run.
   */
  execute<T = unknown>(
    command: string,
    args?: Readonly<Record<string, unknown>>,
    options?: QmpWaitOptions,
  ): Promise<T>;

  /** Calls `listener` for every later event, in order. @returns a function that ends that. */
  onEvent(listener: (event: QmpEvent) => void): () => void;

  /**
   * The next event that matches. Call it *before* the command that causes the event.
   *
   * @throws {QmpTimeoutError} where it does not come in time.
   * @throws {QmpClosedError} where the session ends first.
   */
  waitForEvent(wanted: string | ((event: QmpEvent) => boolean), options?: QmpWaitOptions): Promise<QmpEvent>;

  /** Ends the session; whatever is pending is rejected. Never throws, may be called twice. */
  close(): Promise<void>;

  /** Ends the session to a QEMU that does not answer, but so that it still runs what was sent, once it does again. */
  leave(): void;
}
