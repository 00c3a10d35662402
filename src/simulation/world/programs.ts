/**
 * What the distributions' programs do, as exact automata: what they wait for, which lock they hold, when they give up.
 * Sources: kdump-utils (kdumpctl, kdump-udev-throttler), kdump-tools (kdump-config), openSUSE's kdump (load-once.sh).
 */
import type { KdumpCommand } from "../../rules/kdump-command.ts";
import type { VirtualClock } from "./clock.ts";
import type { Costs } from "./costs.ts";
import type { Kexec } from "./kexec.ts";
import { type Program, sleep } from "./process.ts";
import { Lock, SerialServer } from "./resources.ts";
import type { MachineState } from "./state.ts";
import type { Udevd } from "./udevd.ts";

/** The throttler sleeps so long, then waits for udev at most so long (kdump-utils 1c97aee). */
const THROTTLE_SLEEP = 1000;
const THROTTLE_SETTLE = 3000;

/** What the programs of one machine work with. */
export interface ProgramSurroundings {
  readonly clock: VirtualClock;
  readonly costs: Costs;
  readonly state: MachineState;
  readonly kexec: Kexec;
  /** Asked when a program waits for udev: it starts programs itself. */
  readonly udevd: () => Udevd;
}

/** The programs, with the locks and the job file that they share. */
export class Programs {
  readonly pid1: SerialServer;
  readonly #around: ProgramSurroundings;
  /** /var/lock/kdump of kdumpctl, $KDUMP_COREDIR/kdump_lock of kdump-config. */
  readonly #kdumpLock: Lock;
  readonly #throttleLock: Lock;
  readonly #jobsLock: Lock;
  /** Of the load that comes after the one in flight. */
  readonly #nextLock: Lock;
  /** /run/kdump.jobs: how many calls came since the holder looked. */
  #jobs = 0;

  constructor(around: ProgramSurroundings) {
    const { clock } = around;
    this.#around = around;
    this.pid1 = new SerialServer(clock);
    this.#kdumpLock = new Lock(clock);
    this.#throttleLock = new Lock(clock);
    this.#jobsLock = new Lock(clock);
    this.#nextLock = new Lock(clock);
  }

  /** Runs a command of rules, as far as it has to do with kdump, in the process that calls it. */
  run(command: KdumpCommand): Program<unknown> {
    switch (command.effect) {
      case "throttled-reload":
        return this.#throttler();
      case "coalesced-reload":
        return command.program === "kdump-load-over" ? this.#loadOver() : this.#loadOnce();
      case "unload":
        return this.#unload();
      case "reload":
        return command.program === "kexec" ? this.#around.kexec.load() : this.#reload(command.latches);
    }
  }

  /**
   * `kdumpctl reload`, `kdump-config try-reload`: one after the other, none is left out. With `latches`, nothing is
   * done where nothing is loaded, which is looked at once the lock is held.
   */
  *#reload(latches: boolean): Program {
    const { clock, costs, state, kexec } = this.#around;
    yield this.#kdumpLock.take();
    try {
      if (latches && !state.loaded) return;
      yield* kexec.unload();
      yield sleep(clock, costs.reloadWork);
      yield* kexec.load();
    } finally {
      this.#kdumpLock.release();
    }
  }

  *#throttler(): Program {
    const { clock, udevd } = this.#around;
    if (!this.#throttleLock.tryTake()) return;
    try {
      yield sleep(clock, THROTTLE_SLEEP);
      yield* udevd().settle(THROTTLE_SETTLE);
    } finally {
      // Given up before the reload, so that an event during it opens a new cycle.
      this.#throttleLock.release();
    }
    yield* this.#reload(false);
  }

  /** Appends to the job file; the one that holds its lock loads over and over until the file stays empty. */
  *#loadOnce(): Program {
    const { clock, costs, kexec } = this.#around;
    this.#jobs++;
    if (!this.#jobsLock.tryTake()) return;
    try {
      while (this.#jobs > 0) {
        this.#jobs = 0;
        yield sleep(clock, costs.reloadWork);
        yield* kexec.load();
      }
    } finally {
      this.#jobsLock.release();
    }
  }

  /** Ours: whoever gets the first lock waits for the load in flight; its own will see all events until then. */
  *#loadOver(): Program {
    const { clock, costs, kexec } = this.#around;
    if (!this.#nextLock.tryTake()) return;
    try {
      yield this.#kdumpLock.take();
    } finally {
      this.#nextLock.release();
    }
    try {
      yield sleep(clock, costs.reloadWork);
      yield* kexec.load();
    } finally {
      this.#kdumpLock.release();
    }
  }

  *#unload(): Program {
    yield this.#kdumpLock.take();
    try {
      yield* this.#around.kexec.unload();
    } finally {
      this.#kdumpLock.release();
    }
  }
}
