/** A QEMU guest behind the keeper's port. */
import type {
  AllocatedDimm,
  BackendFate,
  PausedWork,
  PluggableMachine,
  RemovableCpu,
  RemovableDimm,
  ResumableMachine,
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
import { allocateDimm, plugCpu } from "./plug.ts";
import { watchDevices } from "./watch-devices.ts";
import { QmpClosedError, QmpCommandError } from "./qmp-errors.ts";
import type { GuestMemory } from "./memory.ts";
import { queryStatus } from "./replies.ts";
import { letRun } from "./run-state.ts";
import { removableCpus, removableDimms } from "./unplug.ts";

/** Who adds devices, where that is not we: the guest's manager has to know of them. */
export interface Plugging {
  allocateDimm(size: bigint): Promise<AllocatedDimm>;
  plugCpu(added: (id: string) => void): Promise<void>;
  /** What became of the backend of the DIMM `name`, which is gone. */
  releaseBackend(name: string): Promise<BackendFate>;
}

/** How a machine is opened. */
export interface QemuMachineOptions extends QemuGuestOptions {
  /** Keeps every other keeper away from this QEMU until it is closed; else only during each pause. */
  readonly alone?: boolean;
  /** How long until QEMU is asked again for what it has no event for; default 8 ms. */
  readonly pollEveryMs?: (() => number) | undefined;
  /** Unless told devices are added by QMP. */
  readonly plugging?: Plugging;
}

/** The machine behind one QMP socket. Close it. */
export class QemuMachine
  implements PluggableMachine, UnpluggableMachine, WatchedMachine, ResumableMachine, AsyncDisposable
{
  readonly name: string;
  readonly guest: QemuGuest;
  #pause: Promise<unknown> | undefined;
  /** Memory that no DIMM has got yet. */
  readonly #allocated = new Set<Promise<AllocatedDimm>>();
  readonly #lock: AsyncDisposable | undefined;
  readonly #plugging: Plugging | undefined;
  #interrupted = false;
  #slots: Promise<unknown> | undefined;
  readonly #pollEveryMs: () => number;
  /** Looks at its layout that are under way. */
  #looks = 0;
  /** It may have changed since the last of them. */
  #changed = false;

  private constructor(
    name: string,
    guest: QemuGuest,
    lock: AsyncDisposable | undefined,
    { pollEveryMs, plugging }: Pick<QemuMachineOptions, "pollEveryMs" | "plugging">,
  ) {
    this.name = name;
    this.guest = guest;
    this.#lock = lock;
    this.#plugging = plugging;
    this.#pollEveryMs = pollEveryMs ?? (() => 0);
  }

  /**
   * Connects to the QMP socket at `path`; see {@link QemuGuest.open} for what can go wrong.
   *
   * @throws {KeeperBusyError} where it is to be alone and another keeper works on the same QEMU.
   */
  static async open(path: string, options: QemuMachineOptions = {}): Promise<QemuMachine> {
    return await QemuMachine.over(`qmp:${path}`, await QemuGuest.open(path, options), options);
  }

  /**
   * The machine that is `guest`, which it owns from now on, also where this fails.
   *
   * @param name as users write it.
   * @throws {KeeperBusyError} as `open`.
   */
  static async over(
    name: string,
    guest: QemuGuest,
    options: Pick<QemuMachineOptions, "alone" | "pollEveryMs" | "plugging"> = {},
  ): Promise<QemuMachine> {
    try {
      const lock = options.alone === true ? await guest.memory.lock.take() : undefined;
      return new QemuMachine(name, guest, lock, options);
    } catch (error) {
      await guest.close();
      throw error;
    }
  }

  get memory(): GuestMemory {
    return this.guest.memory;
  }

  async layout(): Promise<MachineLayout> {
    this.#looks++;
    if (this.#changed) this.guest.expectPause();
    this.#changed = false;
    try {
      return await this.#layout();
    } finally {
      this.#looks--;
    }
  }

  async #layout(): Promise<MachineLayout> {
    // All at once: whoever has paused the machine waits for the answers.
    const [devices, hotpluggableCpus, canGrow, bootRam] = await Promise.all([
      this.guest.memoryDevices(),
      this.#cpus(),
      this.#canGrow(),
      this.memory.bootRanges(),
    ]);
    const memoryDevices = parseMemoryDevices(devices);
    return machineLayoutFromQmp({ bootRam: RangeSet.of(bootRam), memoryDevices, hotpluggableCpus, canGrow });
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

  async isRunning(): Promise<boolean> {
    return (await queryStatus(this.guest.qmp)).running;
  }

  /** `paused` is what `stop` leaves; a guest that has panicked, was shut down or is migrated is in another state. */
  async isStopped(): Promise<boolean> {
    return (await queryStatus(this.guest.qmp)).status === "paused";
  }

  async letRun(): Promise<void> {
    await letRun(this.guest.qmp);
  }

  onChange(changed: () => void): Disposable {
    const rung = (): void => {
      this.#changed = true;
      changed();
    };
    return watchDevices(this.guest, rung, {
      atLeastMs: this.#pollEveryMs,
      isBusy: () => this.#looks > 0 || this.#pause !== undefined,
      isPaused: () => this.#pause !== undefined,
    });
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
   * Lets a pause that is under way come to its end, permits no other one, gives back memory that no DIMM has got, and
   * closes the connection: whoever waits for an answer gets a {@link QmpClosedError}. For Ctrl-C.
   */
  async interrupt(): Promise<void> {
    this.#interrupted = true;
    await this.#pause?.catch(() => undefined);
    const left = [...this.#allocated];
    this.#allocated.clear();
    await Promise.allSettled(left.map(async (dimm) => await (await dimm).free()));
    await this.guest.close();
  }

  async allocateDimm(size: bigint): Promise<AllocatedDimm> {
    if (this.#interrupted)
      throw new QmpClosedError("Interrupted before memory was allocated; nothing was plugged");
    const allocating = this.#plugging?.allocateDimm(size) ?? allocateDimm(this.guest.qmp, { size });
    this.#allocated.add(allocating);
    const done = (): void => void this.#allocated.delete(allocating);
    try {
      const dimm = await allocating;
      return {
        plug: async (added) =>
          await dimm.plug((id) => {
            done();
            added(id);
          }),
        // Ctrl-C may have come first.
        free: async () => {
          if (this.#allocated.delete(allocating)) await dimm.free();
        },
      };
    } catch (error) {
      done();
      throw error;
    }
  }

  async plugCpu(added: (id: string) => void): Promise<void> {
    if (this.#plugging) await this.#plugging.plugCpu(added);
    else await plugCpu(this.guest.qmp, added);
  }

  async removableDimms(): Promise<readonly RemovableDimm[]> {
    const dimms = await removableDimms(this.guest.qmp);
    const plugging = this.#plugging;
    return plugging === undefined
      ? dimms
      : dimms.map((dimm) => ({ ...dimm, releaseBackend: async () => plugging.releaseBackend(dimm.name) }));
  }

  async removableCpus(): Promise<readonly RemovableCpu[]> {
    return removableCpus(this.guest.qmp, await this.#cpus());
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
