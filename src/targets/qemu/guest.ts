/** A running QEMU guest, from its QMP socket: run state, memory, hot-plug. */
import { assertNotEncrypted } from "./encrypted.ts";
import { finishing } from "./finishing.ts";
import { type GuestMemory, type GuestMemoryOptions, openGuestMemory } from "./memory.ts";
import { type DimmRequest, plugDimm, type PluggedDimm } from "./plug.ts";
import { QmpClient, type QmpConnectOptions } from "./qmp.ts";
import type { QmpSession } from "./qmp-session.ts";
import { queryStatus, type RunState } from "./replies.ts";
import type { PauseWitness } from "./pause-witness.ts";
import { askPermit, pauseGuest, type PauseToken, resumeGuest } from "./run-state.ts";
import { Standstill } from "./standstill.ts";

export interface QemuGuestOptions extends QmpConnectOptions, GuestMemoryOptions {
  /** Told of each pause of {@link QemuGuest.pausedDuring}. */
  readonly pauseWitness?: PauseWitness | undefined;
}

/** For how long a guest that might be paused still may, ms; what changes within it is seen in the pause. */
const PERMIT_MS = 50;

/** Owns the QMP connection and the guest's memory: close it. */
export class QemuGuest {
  readonly qmp: QmpSession;
  readonly memory: GuestMemory;
  /** Length of the last pause that `resume` ended, microseconds between STOP and RESUME. */
  lastPauseMicroseconds: number | undefined;
  readonly #pauseWitness: PauseWitness | undefined;
  #permit: { readonly answer: Promise<RunState>; readonly askedAt: number } | undefined;

  private constructor(qmp: QmpSession, memory: GuestMemory, pauseWitness: PauseWitness | undefined) {
    this.qmp = qmp;
    this.memory = memory;
    this.#pauseWitness = pauseWitness;
  }

  /**
   * Connects to the guest behind the QMP socket at `qmpPath`. The guest is not stopped or changed.
   *
   * @throws {QmpConnectError} where there is no QMP to talk to; what `over` throws.
   */
  static async open(qmpPath: string, options: QemuGuestOptions = {}): Promise<QemuGuest> {
    return await QemuGuest.over(await QmpClient.connect(qmpPath, options), options);
  }

  /**
   * The guest behind `qmp`, which it owns from now on, also where this fails.
   *
   * @throws {EncryptedMemoryError} where nobody outside can read its memory; what `openGuestMemory` throws.
   */
  static async over(qmp: QmpSession, options: QemuGuestOptions = {}): Promise<QemuGuest> {
    options.pauseWitness?.ready();
    const onAbort = (): void => void qmp.close();
    options.signal?.addEventListener("abort", onAbort, { once: true });
    try {
      await assertNotEncrypted(qmp);
      return new QemuGuest(qmp, await openGuestMemory(qmp, options), options.pauseWitness);
    } catch (error) {
      await qmp.close();
      options.signal?.throwIfAborted();
      throw error;
    } finally {
      options.signal?.removeEventListener("abort", onAbort);
    }
  }

  /** QEMU's run state: `running`, `paused`, `prelaunch`, `guest-panicked`, ... */
  async status(): Promise<string> {
    return (await queryStatus(this.qmp)).status;
  }

  /** Stops the guest where it runs. Hand the token to `resume`. */
  async pause(): Promise<PauseToken> {
    return await pauseGuest(this.qmp, queryStatus(this.qmp));
  }

  /** Starts the guest again where `pause` stopped it; one that did not run before stays as it was. */
  async resume(token: PauseToken): Promise<void> {
    const length = await resumeGuest(this.qmp, token);
    if (length !== undefined) this.lastPauseMicroseconds = length;
  }

  /**
   * Asks whether the guest may be paused, for a pause that is likely to follow at once: it need not ask again then. A
   * guest that is busy with new memory keeps QEMU from answering for milliseconds, each time.
   */
  expectPause(): void {
    const answer = askPermit(this.qmp);
    // Where it is not waited for, something else has failed before it, or there was no pause.
    answer.catch(() => undefined);
    this.#permit = { answer, askedAt: performance.now() };
  }

  #takePermit(): Promise<RunState> {
    if (this.#permit === undefined || performance.now() - this.#permit.askedAt > PERMIT_MS)
      this.expectPause();
    const { answer } = this.#permit!;
    this.#permit = undefined;
    return answer;
  }

  /**
   * Runs `fn` while the guest stands still, and resumes it in any case, but only where it ran before.
   *
   * Nothing in here can be interrupted half-way: who catches SIGINT awaits this. Every command has its limit.
   *
   * @throws {KeeperBusyError} where another keeper works on this QEMU; {RunStateError} where its memory is being moved;
   *   {ImageError} `changed` from a write in `fn`
   *   where somebody else has let the guest run.
   */
  async pausedDuring<T>(fn: () => Promise<T>): Promise<T> {
    await using _ = await this.memory.lock.take();
    const permit = this.#takePermit();
    this.#pauseWitness?.ready();
    return await this.memory.withWritesReady(async () => {
      const standstill = await Standstill.begin(this.qmp, permit, this.#pauseWitness);
      const work = async (): Promise<T> => {
        await this.memory.attach(standstill.state);
        return await this.memory.guarded(async () => await standstill.beforeWrite(), fn);
      };
      return await finishing(work, async () => {
        await finishing(
          async () => await this.memory.hangUp(),
          async () => void (this.lastPauseMicroseconds = await standstill.end()),
        );
      });
    });
  }

  /** QEMU's own answer to `query-memory-devices`, unchecked. */
  async memoryDevices(): Promise<unknown> {
    return await this.qmp.execute("query-memory-devices");
  }

  /** QEMU's own answer to `query-hotpluggable-cpus`, unchecked. */
  async hotpluggableCpus(): Promise<unknown> {
    return await this.qmp.execute("query-hotpluggable-cpus");
  }

  /** Adds a DIMM and takes it into `memory`. @throws {PlugError} with QEMU's words; then nothing changed. */
  async plugDimm(request: DimmRequest): Promise<PluggedDimm> {
    const dimm = await plugDimm(this.qmp, request);
    await this.memory.refresh();
    return dimm;
  }

  /** Closes memory and connection. The guest stays as it is. */
  async close(): Promise<void> {
    await finishing(
      async () => await this.memory.close(),
      async () => await this.qmp.close(),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
