/** A machine that a service has open, and who works on it: the service's own looks, and commands that are let in. */
import type { PhysicalMemory } from "../../image/memory.ts";
import type { MachineLayout } from "../../layout/machine.ts";
import type {
  AllocatedDimm,
  Machine,
  PausedWork,
  PluggableMachine,
  RemovableCpu,
  RemovableDevice,
  RemovableDimm,
  RemovalAnswer,
  ResumableMachine,
  UnpluggableMachine,
  WatchedMachine,
} from "../machine.ts";
import type { InstallReport } from "../install.ts";
import type { Keeper } from "../keeper.ts";
import type { Keeping } from "../watch.ts";
import { Turns, unlessAborted } from "./turns.ts";

/** What a service keeps, and commands work on. */
export interface ServedMachine
  extends PluggableMachine, UnpluggableMachine, WatchedMachine, ResumableMachine, AsyncDisposable {
  /** Lets a pause that is under way come to its end, and permits no other one. For Ctrl-C. */
  interrupt(): Promise<void>;
}

/** One open machine. Whoever looks at it or changes it takes a turn. */
export class Kept implements Machine {
  readonly machine: ServedMachine;
  readonly turns: Turns = new Turns();
  #pause: Promise<unknown> | undefined;

  constructor(machine: ServedMachine) {
    this.machine = machine;
  }

  get name(): string {
    return this.machine.name;
  }

  get memory(): PhysicalMemory {
    return this.machine.memory;
  }

  async layout(): Promise<MachineLayout> {
    return await this.machine.layout();
  }

  async paused<T>(work: () => Promise<T>): Promise<PausedWork<T>> {
    const pause = this.machine.paused(work);
    this.#pause = pause;
    try {
      return await pause;
    } finally {
      this.#pause = undefined;
    }
  }

  async isRunning(): Promise<boolean | undefined> {
    return await this.machine.isRunning?.();
  }

  /** Waits until the machine does not stand still by us. */
  async pauseEnded(): Promise<void> {
    await this.#pause?.catch(() => undefined);
  }
}

/** The keeper's looks, each in a turn of its own. */
export function inTurns(kept: Kept, keeper: Keeper): Keeping<InstallReport> {
  const { turns } = kept;
  return {
    audit: async (signal) => await turns.run(async () => await keeper.audit(signal)),
    prepare: async (image, signal) => await turns.run(async () => await keeper.prepare(image, signal)),
    update: async () => await turns.run(async () => await keeper.update()),
  };
}

/**
 * The machine in the hands of a command, which has it to itself until it ends; except while a guest thinks about giving
 * up a device: that may take a minute, and the service goes on looking meanwhile.
 */
export class Lease implements ServedMachine {
  readonly #kept: Kept;
  readonly #signal: AbortSignal;
  #turn: Disposable;
  #interrupted = false;

  private constructor(kept: Kept, signal: AbortSignal, turn: Disposable) {
    this.#kept = kept;
    this.#signal = signal;
    this.#turn = turn;
  }

  /** Waits for the look that is under way. @param signal ends the command: no pause begins any more, no answer is waited for. */
  static async take(kept: Kept, signal: AbortSignal): Promise<Lease> {
    return new Lease(kept, signal, await kept.turns.take(signal));
  }

  get name(): string {
    return this.#kept.name;
  }

  get memory(): PhysicalMemory {
    return this.#kept.memory;
  }

  async layout(): Promise<MachineLayout> {
    return await this.#kept.layout();
  }

  async paused<T>(work: () => Promise<T>): Promise<PausedWork<T>> {
    this.#check();
    return await this.#kept.paused(work);
  }

  onChange(changed: () => void): Disposable {
    return this.#kept.machine.onChange(changed);
  }

  async allocateDimm(size: bigint): Promise<AllocatedDimm> {
    this.#check();
    return await this.#kept.machine.allocateDimm(size);
  }

  async plugCpu(added: (id: string) => void): Promise<void> {
    this.#check();
    await this.#kept.machine.plugCpu(added);
  }

  async removableDimms(): Promise<readonly RemovableDimm[]> {
    return (await this.#kept.machine.removableDimms()).map((dimm) => ({
      ...dimm,
      remove: async (limitMs, asked) => await this.#remove(dimm, limitMs, asked),
    }));
  }

  async removableCpus(): Promise<readonly RemovableCpu[]> {
    return (await this.#kept.machine.removableCpus()).map((cpu) => ({
      ...cpu,
      remove: async (limitMs, asked) => await this.#remove(cpu, limitMs, asked),
    }));
  }

  now(): number | undefined {
    return this.#kept.machine.now();
  }

  async isRunning(): Promise<boolean | undefined> {
    return await this.#kept.isRunning();
  }

  async isStopped(): Promise<boolean> {
    return await this.#kept.machine.isStopped();
  }

  async letRun(): Promise<void> {
    this.#check();
    await this.#kept.machine.letRun();
  }

  /** The service's connection stays: only this command ends. */
  async interrupt(): Promise<void> {
    this.#interrupted = true;
    await this.#kept.pauseEnded();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#turn[Symbol.dispose]();
  }

  async #remove(device: RemovableDevice, limitMs: number, asked: () => void): Promise<RemovalAnswer> {
    this.#check();
    const answer = device.remove(limitMs, () => {
      asked();
      this.#turn[Symbol.dispose]();
    });
    // Who is not waited for any more may fail.
    answer.catch(() => undefined);
    try {
      return await unlessAborted(answer, this.#signal);
    } finally {
      this.#turn = await this.#nextTurn();
    }
  }

  /** The turn that was not given back, or another one. */
  async #nextTurn(): Promise<Disposable> {
    this.#turn[Symbol.dispose]();
    return await this.#kept.turns.take();
  }

  #check(): void {
    this.#signal.throwIfAborted();
    if (this.#interrupted) throw new Error("Interrupted before anything else was changed");
  }
}
