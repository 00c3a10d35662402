/** The port through which the keeper sees and changes a machine. */
import type { PhysicalMemory } from "../image/memory.ts";
import type { MachineLayout } from "../layout/machine.ts";
import type { PhysicalRange } from "../layout/range.ts";

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
  /** Whether it runs now; a machine that nobody can have stopped need not say. */
  isRunning?(): Promise<boolean | undefined>;
}

/** A machine that may be found standing still because of a pause that was never ended. */
export interface ResumableMachine extends Machine {
  /** Whether it stands still as one does that was told to stop: not because it panicked, was shut down or is migrated. */
  isStopped(): Promise<boolean>;
  /** Lets it run. */
  letRun(): Promise<void>;
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

/** A DIMM whose memory is there; the machine does not have it yet. */
export interface AllocatedDimm {
  /**
   * Adds it; the machine may stand still meanwhile.
   *
   * @param added called with its name as soon as it is there, whatever goes wrong afterwards.
   */
  plug(added: (id: string) => void): Promise<void>;
  /** Gives the memory back; for a DIMM that was not plugged. */
  free(): Promise<void>;
}

/** A machine to which memory and CPUs can be added. */
export interface PluggableMachine extends Machine {
  /** Allocates the memory of a DIMM of `size` bytes: what can be done before the machine is paused. */
  allocateDimm(size: bigint): Promise<AllocatedDimm>;
  /**
   * Adds a CPU to the first slot that is free.
   *
   * @param added called with its name as soon as it is there, whatever goes wrong afterwards.
   */
  plugCpu(added: (id: string) => void): Promise<void>;
}

/** What a machine answered to the request to give up a device. */
export type RemovalAnswer =
  /** It is gone. */
  | { readonly answer: "removed" }
  /** It stays; `reason` in words, without a full stop. */
  | { readonly answer: "refused"; readonly reason: string }
  /** Nothing was heard in time: it is still there, and may go at any later time. */
  | { readonly answer: "pending"; readonly reason: string };

/** What became of the backend of a DIMM that is gone: given back, or left where it is not of our making. */
export type BackendFate = { readonly fate: "deleted" } | { readonly fate: "left"; readonly reason: string };

/** What can be done with a device that its machine can be asked to give up. */
interface Removable {
  /** The device's id; for one without an id, QEMU's path of it. */
  readonly name: string;
  /**
   * Asks the machine's kernel to give it up, and waits for the answer.
   *
   * @param limitMs how long.
   * @param asked called right before the request is made: from then on it may go at any time.
   */
  remove(limitMs: number, asked: () => void): Promise<RemovalAnswer>;
}

/** A CPU that is there. */
export interface RemovableCpu extends Removable {
  readonly kind: "cpu";
  /** Why it cannot be asked for, in words, without a full stop; undefined where it can. */
  readonly fixed: string | undefined;
}

/** A DIMM that its machine can be asked to give up. */
export interface RemovableDimm extends Removable {
  readonly kind: "dimm";
  readonly range: PhysicalRange;
  /** Gives back what {@link AllocatedDimm.plug} made beside the device; to be called once that is gone. */
  releaseBackend(): Promise<BackendFate>;
}

/** A device that its machine can be asked to give up. */
export type RemovableDevice = RemovableDimm | RemovableCpu;

/** A machine from which memory and CPUs can be taken. */
export interface UnpluggableMachine extends Machine {
  /** The DIMMs that it has now, whoever plugged them. */
  removableDimms(): Promise<readonly RemovableDimm[]>;
  /** The CPUs that it has now, whoever plugged them, those that it cannot be asked for among them. */
  removableCpus(): Promise<readonly RemovableCpu[]>;
  /** A steady clock, microseconds; undefined where the machine has none. */
  now(): number | undefined;
}

/** Carried by errors that say that the machine itself was lost: it has ended, or does not answer any more. */
export interface LossMark {
  readonly machineLost: true;
  /** It has not been seen to end: it only does not answer. */
  readonly machineSilent?: true;
}

/** Carried by errors that say that there is no such machine now; it may be started later. */
export interface AbsenceMark {
  readonly machineAbsent: boolean;
}

/** Whether `error`, or one of those that it is made of, is the loss of the machine. */
export function isLoss(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.some(isLoss);
  return error instanceof Error && "machineLost" in error && error.machineLost === true;
}

/** Whether `error` is the loss of a machine that does not answer, and may be there all the same. */
export function isSilence(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.some(isSilence);
  return error instanceof Error && "machineSilent" in error && error.machineSilent === true;
}

/** Whether `error` says that there is no such machine now. */
export function isAbsence(error: unknown): boolean {
  return error instanceof Error && "machineAbsent" in error && error.machineAbsent === true;
}
