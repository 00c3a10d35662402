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

/** A machine to which memory can be added. */
export interface PluggableMachine extends Machine {
  /** Adds a DIMM of `size` bytes and returns its name; the machine may stand still meanwhile. */
  plugDimm(size: bigint): Promise<string>;
}
