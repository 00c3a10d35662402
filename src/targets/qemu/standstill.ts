/** A guest that stands still because we stopped it, and what to do where somebody else starts it meanwhile. */
import { ImageError } from "../../image/error.ts";
import { QmpTimeoutError } from "./qmp-errors.ts";
import type { QmpSession } from "./qmp-session.ts";
import { queryStatus, type RunState } from "./replies.ts";
import type { OpenPause, PauseWitness } from "./pause-witness.ts";
import { stayAwake } from "./stay-awake.ts";
import { askPermit, assertNotMoving, pauseGuest, type PauseToken, resumeGuest } from "./run-state.ts";

/**
 * How long after our own `stop` its answer is as good as a new one, once the events that have come since are seen.
 * Asking again costs 0.35 ms, where a whole install without it stops the guest for 0.5 ms (6.1, shared file).
 */
const FRESH_MS = 2;

/**
 * For how long we do not sleep where a pause begins, and again after `cont`. Not longer: of two processors QEMU's
 * threads need the other one too, and the kernel lets who is awake finish its slice of 3 ms. Over libvirt it is virsh's
 * and libvirt's turn most of the time.
 */
const AWAKE_MS = 0.25;

/** One pause, from `stop` to `cont`. */
export class Standstill {
  readonly #qmp: QmpSession;
  readonly #forget: () => void;
  readonly #witness: PauseWitness | undefined;
  #witnessed: OpenPause | undefined;
  #token: PauseToken | undefined;
  #stoppedAt = 0;
  #asked = false;
  #wrote = false;
  /** The check that is under way: writes that are made together have one. */
  #checking: Promise<void> | undefined;
  /** Somebody else has let the guest run since we last looked. */
  #resumed = false;
  #awake: Disposable;

  private constructor(qmp: QmpSession, witness: PauseWitness | undefined) {
    this.#qmp = qmp;
    this.#awake = this.#stayAwake();
    this.#witness = witness;
    this.#forget = qmp.onEvent(({ event }) => {
      if (event === "RESUME" && this.#token !== undefined) this.#resumed = true;
    });
  }

  /**
   * Stops the guest where it runs.
   *
   * @param permit as for {@link pauseGuest}.
   * @param witness told of that before, and when it runs again.
   * @throws {RunStateError} where it stands still because its memory is being moved.
   */
  static async begin(
    qmp: QmpSession,
    permit: Promise<RunState>,
    witness: PauseWitness | undefined,
  ): Promise<Standstill> {
    const standstill = new Standstill(qmp, witness);
    try {
      standstill.#token = await standstill.#pause(permit);
      standstill.#stoppedAt = performance.now();
      assertNotMoving(standstill.#token.state);
      return standstill;
    } catch (error) {
      standstill.#forget();
      standstill.#awake[Symbol.dispose]();
      standstill.#told(error);
      throw error;
    }
  }

  #stayAwake(): Disposable {
    return stayAwake("qmp" in this.#qmp.resumable ? AWAKE_MS : 0);
  }

  async #pause(permit: Promise<RunState>): Promise<PauseToken> {
    return await pauseGuest(this.#qmp, permit, () => {
      this.#witnessed ??= this.#witness?.pausing(this.#qmp.resumable);
    });
  }

  /**
   * Without the connection nobody has said `cont`. With it `cont` was said; after a time-out it was sent, and is read
   * however late (`QmpClient.leave`).
   */
  #told(error?: unknown): void {
    const wasLost = error !== undefined && !this.#qmp.isOpen && !isTimeout(error);
    if (wasLost) this.#witnessed?.lost();
    else this.#witnessed?.over();
    this.#witnessed = undefined;
  }

  /** What the guest stands still in. */
  get state(): RunState {
    return this.#token!.state;
  }

  /**
   * To be called before each write to the guest's memory: another keeper, or an operator, may say `cont` on another
   * monitor. QEMU's RESUME events are watched; before the first write QEMU is asked too, unless it was we who stopped
   * the guest just now. Where events may come late, it is asked before each write.
   *
   * Where bytes were written already, the guest is stopped again first: undoing them is then no write into a running
   * guest either.
   *
   * @throws {ImageError} `changed` where somebody else has let the guest run.
   * @throws {RunStateError} where its memory began to be moved right before the pause.
   */
  async beforeWrite(): Promise<void> {
    this.#checking ??= this.#check().finally(() => (this.#checking = undefined));
    await this.#checking;
  }

  async #check(): Promise<void> {
    await this.#token?.unmoved;
    if (!this.#asked) {
      this.#asked = this.#qmp.eventsInOrder;
      const fresh =
        this.#asked && this.#token?.wasRunning === true && performance.now() - this.#stoppedAt < FRESH_MS;
      if (fresh) await eventsIn();
      else if ((await queryStatus(this.#qmp)).running) this.#resumed = true;
    }
    if (!this.#resumed) {
      this.#wrote = true;
      return;
    }
    this.#resumed = false;
    this.#asked = false;
    if (this.#wrote) {
      const again = await this.#pause(askPermit(this.#qmp));
      // Who let it run wants it to run: `end` sees to that.
      this.#token = { ...again, wasRunning: true };
    }
    throw new ImageError(
      "changed",
      "Somebody else let the guest run in our pause (another monitor of this QEMU said cont); look again",
    );
  }

  /** Starts the guest again where it ran before. @returns how long it stood still, microseconds. */
  async end(): Promise<number | undefined> {
    this.#forget();
    this.#awake[Symbol.dispose]();
    this.#awake = this.#stayAwake();
    try {
      const length = await resumeGuest(this.#qmp, this.#token!);
      this.#told();
      return length;
    } catch (error) {
      this.#told(error);
      throw error;
    } finally {
      this.#awake[Symbol.dispose]();
    }
  }
}

/** Lets the event loop look at its sockets once: the second callback comes after that. */
async function eventsIn(): Promise<void> {
  for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
}

function isTimeout(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.some(isTimeout);
  return error instanceof QmpTimeoutError;
}
