/** A simulated machine whose keeper can be killed: at any write, in the middle of it, with nothing undone afterwards. */
import type { MachineLayout } from "../../src/layout/machine.ts";
import type { PhysicalMemory } from "../../src/image/memory.ts";
import type { PhysicalRange } from "../../src/layout/range.ts";
import type {
  AllocatedDimm,
  LossMark,
  PausedWork,
  PluggableMachine,
  ResumableMachine,
} from "../../src/keeper/machine.ts";
import type { SimulatedTarget } from "../../src/targets/simulated/machine.ts";

/** What a killed process's own code sees in these tests: it cannot go on. */
export class Killed extends Error implements LossMark {
  override readonly name = "Killed";
  readonly machineLost = true;
}

/**
 * The machine as one keeper process sees it. When that is killed the machine stays as it is: paused where it was
 * paused, with what was written so far.
 */
export class MortalView implements PluggableMachine, ResumableMachine {
  readonly name: string;
  /** Called before each write, with its number from 0 on: bytes of it that are still written; undefined: it lives on. */
  onWrite: (write: number, length: number) => number | undefined = () => undefined;
  /** Killed when the pause begins, or right before it would end. */
  dies: "at-pause" | "at-resume" | undefined;
  writes = 0;
  isDead = false;
  readonly #target: SimulatedTarget;

  constructor(target: SimulatedTarget) {
    this.#target = target;
    this.name = target.name;
  }

  get memory(): PhysicalMemory {
    const { memory } = this.#target.machine;
    return {
      ranges: async (): Promise<readonly PhysicalRange[]> => await this.#alive(() => memory.ranges()),
      read: async (address, length) => await this.#alive(() => memory.read(address, length)),
      write: async (address, bytes) => {
        await this.#alive(async () => {
          const kept = this.onWrite(this.writes++, bytes.length);
          if (kept !== undefined) {
            // A killed write(2) may stop within, page by page.
            memory.poke(address, bytes.subarray(0, kept));
            this.isDead = true;
            throw new Killed("The keeper was killed in a write");
          }
          await memory.write(address, bytes);
        });
      },
    };
  }

  async layout(): Promise<MachineLayout> {
    return await this.#alive(async () => await this.#target.layout());
  }

  async paused<T>(work: () => Promise<T>): Promise<PausedWork<T>> {
    const { machine } = this.#target;
    await this.#alive(async () => undefined);
    const stoodStill = !machine.running;
    if (!stoodStill) machine.pause();
    if (this.dies === "at-pause") this.#die();
    try {
      const value = await work();
      if (this.dies === "at-resume") this.#die();
      return { value, microseconds: 1000 };
    } finally {
      // Nobody ends the pause of a dead one.
      if (!this.isDead && !stoodStill) machine.resume();
    }
  }

  async isRunning(): Promise<boolean> {
    return this.#target.machine.running;
  }

  async isStopped(): Promise<boolean> {
    return !this.#target.machine.running;
  }

  async letRun(): Promise<void> {
    this.#target.machine.resume();
  }

  async allocateDimm(size: bigint): Promise<AllocatedDimm> {
    return await this.#target.allocateDimm(size);
  }

  async plugCpu(added: (id: string) => void): Promise<void> {
    await this.#target.plugCpu(added);
  }

  #die(): never {
    this.isDead = true;
    throw new Killed("The keeper was killed in a pause");
  }

  async #alive<T>(work: () => Promise<T>): Promise<T> {
    if (this.isDead) throw new Killed("The keeper is dead");
    return await work();
  }
}
