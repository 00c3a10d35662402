/** The keeper's port over a fake machine: a layout that changes, a guest that acts between our steps, failing writes. */
import { createHash } from "node:crypto";
import type {
  AllocatedDimm,
  BackendFate,
  PausedWork,
  PluggableMachine,
  RemovableCpu,
  RemovableDimm,
  RemovalAnswer,
  UnpluggableMachine,
  WatchedMachine,
} from "../../src/keeper/machine.ts";
import { describedMemory } from "../../src/layout/described.ts";
import { machineLayoutFromQmp, type MachineLayout } from "../../src/layout/machine.ts";
import type { HotpluggableCpu, MemoryDevice } from "../../src/layout/qmp.ts";
import type { PhysicalRange } from "../../src/layout/range.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { dimm } from "../layout/samples.ts";
import { type Form, load, type LoadedImage, type LoadOptions } from "../image/fake-loaders.ts";
import { BOOT_RAM, FakeKernel, type FakeKernelOptions } from "../image/fake-machine.ts";
import { panicView } from "../image/panic-view.ts";

export const MIB: bigint = 1n << 20n;
/** Where hot-added memory begins. */
export const HOT: bigint = 5n << 30n;

/** `count` DIMM slots of 128 MiB from slot `first` on. */
export function slots(first: number, count = 1): PhysicalRange {
  return { start: HOT + BigInt(first) * 128n * MIB, end: HOT + BigInt(first + count) * 128n * MIB };
}

export class FakeTarget implements PluggableMachine, UnpluggableMachine, WatchedMachine {
  readonly name = "fake";
  readonly kernel: FakeKernel;
  image: LoadedImage;
  /** Run one by one, each in the last instant before a pause. */
  readonly beforePause: (() => void)[] = [];
  /** Run one by one, each right after a pause. */
  readonly afterPause: (() => void)[] = [];
  pauses = 0;
  running = true;
  plugFails = false;
  freeFails = false;
  /** Memory of DIMMs that are not plugged. */
  allocated = 0;
  /** Run when a device is there, before anything else. */
  afterPlug: (() => void) | undefined;
  /** What the machine answers when it is asked for a DIMM; unless told it gives it up. */
  onRemoval: ((dimm: RemovableDimm) => Promise<RemovalAnswer>) | undefined;
  /** The same for a CPU. */
  onCpuRemoval: (() => Promise<RemovalAnswer>) | undefined;
  /** What becomes of a backend. */
  onRelease: (() => Promise<BackendFate>) | undefined;
  clock = 0;
  canGrow: boolean | undefined = false;
  #listener: (() => void) | undefined;
  #devices: MemoryDevice[] = [];
  #cpus: readonly HotpluggableCpu[] = [];

  constructor(form: Form, options: LoadOptions = {}, kernel: FakeKernelOptions = {}) {
    this.kernel = new FakeKernel(kernel);
    this.image = load(this.kernel, form, options);
  }

  get memory(): FakeKernel["memory"] {
    return this.kernel.memory;
  }

  /** What a panic now would give. */
  get view(): ReturnType<typeof panicView> {
    return panicView(this.memory, this.image);
  }

  /** The guest loads an image of its own accord. */
  reload(form: Form, options: LoadOptions = {}): void {
    this.image = load(this.kernel, form, options);
  }

  add(range: PhysicalRange): string {
    const id = `dimm${this.#devices.length}`;
    this.#setDevices([...this.#devices, dimm(range, id)]);
    return id;
  }

  remove(range: PhysicalRange): void {
    this.#setDevices(this.#devices.filter((device) => device.range?.start !== range.start));
  }

  /** What a forger does who knows the digest: what was changed in the segments passes purgatory's check again. */
  reseal(): void {
    const hash = createHash("sha256");
    for (let i = 0n; i < 16n; i++) {
      const entry = Buffer.from(this.memory.peek(this.image.tableAddress + i * 16n, 16));
      const size = entry.readBigUInt64LE(8);
      if (size > 8n * MIB) return;
      hash.update(this.memory.peek(entry.readBigUInt64LE(0), Number(size)));
    }
    this.memory.poke(this.image.digestAddress, hash.digest());
  }

  /** Takes all devices out, as a machine that starts anew has none. */
  unplugAll(): void {
    this.#setDevices([]);
  }

  setCpus(present: number): void {
    this.#cpus = Array.from({ length: present }, (_, i) => ({
      type: "host-x86_64-cpu",
      vcpusCount: 1,
      props: { "socket-id": i },
      qomPath: i < this.kernel.cpus ? `/machine/unattached/device[${i}]` : `/machine/peripheral/cpu${i}`,
      present: true,
    }));
  }

  async layout(): Promise<MachineLayout> {
    return machineLayoutFromQmp({
      bootRam: BOOT_RAM,
      memoryDevices: this.#devices,
      hotpluggableCpus: this.#cpus,
      canGrow: this.canGrow,
    });
  }

  async paused<T>(work: () => Promise<T>): Promise<PausedWork<T>> {
    this.beforePause.shift()?.();
    this.pauses++;
    this.running = false;
    try {
      return { value: await work(), microseconds: 1000 };
    } finally {
      this.running = true;
      this.afterPause.shift()?.();
    }
  }

  onChange(changed: () => void): Disposable {
    this.#listener = changed;
    return { [Symbol.dispose]: () => (this.#listener = undefined) };
  }

  /** The hypervisor lets a change be seen. */
  tell(): void {
    this.#listener?.();
  }

  get isWatched(): boolean {
    return this.#listener !== undefined;
  }

  async allocateDimm(size: bigint): Promise<AllocatedDimm> {
    this.allocated++;
    return {
      plug: async (added) => {
        if (this.plugFails) throw new Error("no slot is free");
        this.allocated--;
        const end = this.#devices.reduce(
          (top, { range }) => (range && range.end > top ? range.end : top),
          HOT,
        );
        added(this.add({ start: end, end: end + size }));
        this.afterPlug?.();
      },
      free: async () => {
        if (this.freeFails) throw new Error("the backend is left behind");
        this.allocated--;
      },
    };
  }

  /** As with the devices, the name is that of the slot. */
  async plugCpu(added: (id: string) => void): Promise<void> {
    if (this.plugFails) throw new Error("no slot is free");
    this.setCpus(Math.max(this.#cpus.length, this.kernel.cpus) + 1);
    added(`cpu${this.#cpus.length - 1}`);
    this.afterPlug?.();
  }

  async removableDimms(): Promise<readonly RemovableDimm[]> {
    return this.#devices.flatMap(({ id, range }) => {
      if (id === undefined || range === undefined) return [];
      const removable: RemovableDimm = {
        kind: "dimm",
        name: id,
        range,
        remove: async (_limitMs, asked) => {
          asked();
          if (this.onRemoval) return this.onRemoval(removable);
          this.remove(range);
          return { answer: "removed" };
        },
        releaseBackend: async () => (await this.onRelease?.()) ?? { fate: "deleted" },
      };
      return [removable];
    });
  }

  async removableCpus(): Promise<readonly RemovableCpu[]> {
    return this.#cpus.map((_cpu, number) => ({
      kind: "cpu",
      name: `cpu${number}`,
      fixed: number < this.kernel.cpus ? "it has no id" : undefined,
      remove: async (_limitMs, asked) => {
        asked();
        if (this.onCpuRemoval) return this.onCpuRemoval();
        this.setCpus(this.#cpus.length - 1);
        return { answer: "removed" };
      },
    }));
  }

  /** Advances by a millisecond each time that somebody looks. */
  now(): number {
    return (this.clock += 1000);
  }

  #setDevices(devices: MemoryDevice[]): void {
    this.#devices = devices;
    const hot = devices.flatMap(({ range }) => (range ? [range] : []));
    this.memory.setRam(BOOT_RAM.union(RangeSet.of(hot)));
  }
}

/** What a panic now would give: boot RAM as the loader saw it, and what of hot-added memory. */
export interface Dump {
  readonly outcome: string;
  readonly boot: readonly PhysicalRange[];
  readonly hot: readonly PhysicalRange[];
}

const ABOVE: RangeSet = RangeSet.of([{ start: HOT, end: 1n << 52n }]);

/** What a panic now would give. */
export function dump({ view }: FakeTarget): Dump {
  const described = view.outcome === "armed" ? view.described : RangeSet.empty;
  return {
    outcome: view.outcome,
    boot: described.subtract(ABOVE).ranges,
    hot: described.intersect(ABOVE).ranges,
  };
}

/** What it should give: all that the loader described of boot RAM, and exactly `hot`. */
export function armedWith(target: FakeTarget, hot: readonly PhysicalRange[]): Dump {
  const boot = describedMemory(target.image.header).subtract(ABOVE).ranges;
  return { outcome: "armed", boot, hot: RangeSet.of(hot).ranges };
}
