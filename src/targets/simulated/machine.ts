/** A simulated machine behind the keeper's port, so that every command runs on it as on a guest. */
import type { Sha256 } from "../../image/hash.ts";
import type { PhysicalMemory } from "../../image/memory.ts";
import type {
  AllocatedDimm,
  PausedWork,
  PluggableMachine,
  RemovableCpu,
  RemovableDimm,
  ResumableMachine,
  UnpluggableMachine,
  WatchedMachine,
} from "../../keeper/machine.ts";
import { type MachineLayout, machineLayoutFromQmp } from "../../layout/machine.ts";
import type { HotpluggableCpu, MemoryDevice } from "../../layout/qmp.ts";
import type { Dimm } from "../../simulation/dimms.ts";
import type { SimulatedMachine } from "../../simulation/machine.ts";
import { buildMachine, type MachineSpec } from "../../simulation/spec.ts";

/** Raised where Ctrl-C came before the pause. */
export class SimulationInterruptedError extends Error {
  override readonly name = "SimulationInterruptedError";
}

/** The machine of `sim:SPEC`. It lives as long as the command. */
export class SimulatedTarget
  implements PluggableMachine, UnpluggableMachine, WatchedMachine, ResumableMachine, AsyncDisposable
{
  readonly name: string;
  /** The machine itself, for those who load, panic and unplug. */
  readonly machine: SimulatedMachine;
  readonly #listeners = new Set<() => void>();
  #interrupted = false;

  /** @param name - what users call it, `sim:6.1`. */
  constructor(name: string, machine: SimulatedMachine) {
    this.name = name;
    this.machine = machine;
  }

  /** Builds the machine that `spec` describes. @throws {SimulationError} where there can be none such. */
  static open(name: string, spec: MachineSpec, sha256: Sha256): SimulatedTarget {
    return new SimulatedTarget(name, buildMachine(spec, sha256));
  }

  get memory(): PhysicalMemory {
    return this.machine.memory;
  }

  /** What a hypervisor would say: devices and CPU slots, not what the kernel made of them. */
  async layout(): Promise<MachineLayout> {
    return machineLayoutFromQmp({
      bootRam: this.machine.blueprint.backedRam,
      memoryDevices: this.machine.dimms.map(memoryDevice),
      hotpluggableCpus: cpuSlots(this.machine),
      canGrow: true,
    });
  }

  /** No length of the pause is given: the simulated machine has no clock, and the host's would look like a measurement. */
  async paused<T>(work: () => Promise<T>): Promise<PausedWork<T>> {
    if (this.#interrupted)
      throw new SimulationInterruptedError(
        "Interrupted before the simulated machine was paused; nothing was written",
      );
    this.machine.pause();
    try {
      return { value: await work(), microseconds: undefined };
    } finally {
      this.machine.resume();
    }
  }

  async isRunning(): Promise<boolean> {
    return this.machine.running;
  }

  async isStopped(): Promise<boolean> {
    return !this.machine.running;
  }

  async letRun(): Promise<void> {
    this.machine.resume();
  }

  async allocateDimm(size: bigint): Promise<AllocatedDimm> {
    return {
      plug: async (added) => {
        added(this.machine.plugDimm(size));
        this.tellOfChange();
      },
      free: async () => undefined,
    };
  }

  onChange(changed: () => void): Disposable {
    this.#listeners.add(changed);
    return { [Symbol.dispose]: () => void this.#listeners.delete(changed) };
  }

  /** To be called by who changes {@link machine} beside this port, where a hypervisor would let it be seen. */
  tellOfChange(): void {
    for (const changed of this.#listeners) changed();
  }

  async plugCpu(added: (id: string) => void): Promise<void> {
    added(`cpu${this.machine.addCpu()}`);
  }

  async removableDimms(): Promise<readonly RemovableDimm[]> {
    return this.machine.dimms.map(({ id, range }) => ({
      kind: "dimm",
      name: id,
      range,
      remove: async (_limitMs, asked) => {
        if (!this.machine.running)
          return {
            answer: "refused",
            reason: "nothing was asked for: a machine that stands still cannot give anything up",
          };
        asked();
        if (this.machine.requestRemoval(id)) return { answer: "removed" };
        return {
          answer: "refused",
          reason: "the guest refused: some of its memory is in use and cannot be moved elsewhere",
        };
      },
      releaseBackend: async () => ({ fate: "deleted" }),
    }));
  }

  async removableCpus(): Promise<readonly RemovableCpu[]> {
    const { present } = this.machine.cpus;
    return Array.from({ length: present }, (_, cpu) => ({
      kind: "cpu",
      name: `cpu${cpu}`,
      fixed: this.#whyFixed(cpu),
      remove: async (_limitMs, asked) => {
        asked();
        this.machine.removeCpu();
        return { answer: "removed" };
      },
    }));
  }

  #whyFixed(cpu: number): string | undefined {
    if (cpu < this.machine.bootCpus) return "it was there when the machine was started";
    return cpu + 1 < this.machine.cpus.present
      ? "a simulated machine gives up the CPU that came last first"
      : undefined;
  }

  now(): undefined {
    return undefined;
  }

  /** Permits no other pause. One that is under way ends by itself: nothing in it waits for anybody. */
  async interrupt(): Promise<void> {
    this.#interrupted = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.interrupt();
  }
}

function memoryDevice({ id, range, slot }: Dimm): MemoryDevice {
  return {
    kind: "dimm",
    id,
    range,
    region: range,
    slot,
    node: 0,
    memdev: `/objects/${id}-backend`,
    hotplugged: true,
    requestedSize: undefined,
    maxSize: undefined,
  };
}

/** One slot for each possible CPU; those above the boot CPUs would be `/machine/peripheral/…` on QEMU. */
function cpuSlots({ cpus, bootCpus }: SimulatedMachine): readonly HotpluggableCpu[] {
  return Array.from({ length: cpus.possible }, (_, cpu) => {
    const present = cpu < cpus.present;
    const path = cpu < bootCpus ? `/machine/unattached/device[${cpu}]` : `/machine/peripheral/cpu${cpu}`;
    return {
      type: "host-x86_64-cpu",
      vcpusCount: 1,
      props: { "socket-id": cpu },
      qomPath: present ? path : undefined,
      present,
    };
  });
}
