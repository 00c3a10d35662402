/** The port through which the keeper sees and changes a machine. */
import type { PhysicalMemory } from "../image/memory.ts";
import type { MachineLayout } from "../layout/machine.ts";

/** What ran while the machine stood still, and for how long it did. */
export interface PausedWork<T> {
  readonly value: T;
  /** Pause as the machine's side measured it; undefined where it stood still already, or has no clock. */
  readonly microseconds: number | undefined;
}

/** A machine that can be looked at and stopped for a moment. */
export interface Machine {
  /** What users call it, `qmp:/run/guest.sock`. */
  readonly name: string;
  readonly memory: PhysicalMemory;
  /** What the machine has now. */
  layout(): Promise<MachineLayout>;
  /**
   * Runs `work` while the machine stands still. Afterwards it runs again, whatever happened, unless it stood
   * still before.
   */
  paused<T>(work: () => Promise<T>): Promise<PausedWork<T>>;
}

/** A machine that tells when it may have changed. */
export interface WatchedMachine extends Machine {
  /**
   * Calls `changed` whenever the layout may be another one; what came meanwhile is not counted, and none of it is
   * promised: a change only says "look again".
   *
   * @returns ends it.
   */
  onChange(changed: () => void): Disposable;
}

/** A machine to which memory and CPUs can be added. */
export interface PluggableMachine extends Machine {
  /**
   * Adds a DIMM of `size` bytes; the machine may stand still meanwhile.
   *
   * @param added called with its name as soon as it is there, whatever goes wrong afterwards.
   */
  plugDimm(size: bigint, added: (id: string) => void): Promise<void>;
  /**
   * Adds a CPU to the first slot that is free.
   *
   * @param added called with its name as soon as it is there, whatever goes wrong afterwards.
   */
  plugCpu(added: (id: string) => void): Promise<void>;
}

/** Carried by errors that say that the machine itself was lost: it has ended, or does not answer any more. */
export interface LossMark {
  readonly machineLost: true;
}

/** Whether `error`, or one of those that it is made of, is the loss of the machine. */
export function isLoss(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.some(isLoss);
  return error instanceof Error && "machineLost" in error && error.machineLost === true;
}
