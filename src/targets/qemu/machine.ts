/** A QEMU guest behind the keeper's port. */
import type {
  PausedWork,
  PluggableMachine,
  RemovableDimm,
  UnpluggableMachine,
  WatchedMachine,
} from "../../keeper/machine.ts";
import { type MachineLayout, machineLayoutFromQmp } from "../../layout/machine.ts";
import {
  type HotpluggableCpu,
  parseCanGrow,
  parseCpusFast,
  parseHotpluggableCpus,
  parseMemoryDevices,
} from "../../layout/qmp.ts";
import { RangeSet } from "../../layout/range-set.ts";
import { finishing } from "./finishing.ts";
import { QemuGuest, type QemuGuestOptions } from "./guest.ts";
import { plugCpu, plugDimm } from "./plug.ts";
import { watchDevices } from "./watch-devices.ts";
import { QmpClosedError, QmpCommandError } from "./qmp-errors.ts";
import type { GuestMemory } from "./memory.ts";
import { removableDimms } from "./unplug.ts";

/** How a machine is opened. */
export interface QemuMachineOptions extends QemuGuestOptions {
  /** Keeps every other keeper away from this QEMU until it is closed; else only during each pause. */
  readonly alone?: boolean;
}

/** The machine behind one QMP socket. Close it. */
export class QemuMachine implements PluggableMachine, UnpluggableMachine, WatchedMachine, AsyncDisposable {
  readonly name: string;
  readonly guest: QemuGuest;
  #pause: Promise<unknown> | undefined;
  readonly #lock: AsyncDisposable | undefined;
  #interrupted = false;
  #slots: Promise<unknown> | undefined;

  private constructor(name: string, guest: QemuGuest, lock: AsyncDisposable | undefined) {
    this.name = name;
    this.guest = guest;
    this.#lock = lock;
  }

  /**
   * Connects to the QMP socket at `path`; see {@link QemuGuest.open} for what can go wrong.
   *
   * @throws {KeeperBusyError} where it is to be alone and another keeper works on the same QEMU.
   */
  static async open(path: string, options: QemuMachineOptions = {}): Promise<QemuMachine> {
    const guest = await QemuGuest.open(path, options);
    try {
      const lock = options.alone === true ? await guest.memory.lock.take() : undefined;
      return new QemuMachine(`qmp:${path}`, guest, lock);
    } catch (error) {
      await guest.close();
      throw error;
    }
  }

  get memory(): GuestMemory {
    return this.guest.memory;
  }

  async layout(): Promise<MachineLayout> {
    const memoryDevices = parseMemoryDevices(await this.guest.memoryDevices());
    const hotpluggableCpus = await this.#cpus();
    const canGrow = await this.#canGrow();
    const bootRam = RangeSet.of(await this.memory.bootRanges());
    return machineLayoutFromQmp({ bootRam, memoryDevices, hotpluggableCpus, canGrow });
  }

  /** A machine that takes no CPUs (microvm, for one) refuses to list slots; its CPUs can be listed all the same. */
  async #cpus(): Promise<readonly HotpluggableCpu[]> {
    const slots = await unlessRefused(this.guest.hotpluggableCpus());
    return slots === undefined
      ? parseCpusFast(await this.guest.qmp.execute("query-cpus-fast"))
      : parseHotpluggableCpus(slots);
  }

  /** Asked once: slots are a matter of QEMU's command line. */
  async #canGrow(): Promise<boolean | undefined> {
    this.#slots ??= unlessRefused(
      this.guest.qmp.execute("qom-get", { path: "/machine", property: "memory" }),
    );
    const memory = await this.#slots;
    return memory === undefined ? undefined : parseCanGrow(memory);
  }

  onChange(changed: () => void): Disposable {
    return watchDevices(this.guest, changed);
  }

  async paused<T>(work: () => Promise<T>): Promise<PausedWork<T>> {
    if (this.#interrupted)
      throw new QmpClosedError("Interrupted before the guest was paused; nothing was written");
    this.guest.lastPauseMicroseconds = undefined;
    const pause = this.guest.pausedDuring(work);
    this.#pause = pause;
    try {
      const value = await pause;
      return { value, microseconds: this.guest.lastPauseMicroseconds };
    } finally {
      this.#pause = undefined;
    }
  }

  /**
   * Lets a pause that is under way come to its end, permits no other one, and closes the connection: whoever waits
   * for an answer gets a {@link QmpClosedError}. For Ctrl-C.
   */
  async interrupt(): Promise<void> {
    this.#interrupted = true;
    await this.#pause?.catch(() => undefined);
    await this.guest.close();
  }

  /** The memory map is not read anew here: who plugs asks for the layout next, which does. */
  async plugDimm(size: bigint, added: (id: string) => void): Promise<void> {
    await plugDimm(this.guest.qmp, { size }, added);
  }

  async plugCpu(added: (id: string) => void): Promise<void> {
    await plugCpu(this.guest.qmp, added);
  }

  async removableDimms(): Promise<readonly RemovableDimm[]> {
    return removableDimms(this.guest.qmp);
  }

  now(): number {
    return performance.now() * 1000;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await finishing(
      async () => await this.guest.close(),
      async () => await this.#lock?.[Symbol.asyncDispose](),
    );
  }
}

/** An answer, or undefined where QEMU refuses the question. */
async function unlessRefused(answer: Promise<unknown>): Promise<unknown> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof QmpCommandError) return undefined;
    throw error;
  }
}
