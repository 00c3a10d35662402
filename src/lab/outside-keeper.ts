/** Our keeper at its work while somebody else plugs: it asks QEMU for the memory devices and looks again when they change. */
import { setTimeout as delay } from "node:timers/promises";
import { Keeper } from "../keeper/keeper.ts";
import { parseMemoryDevices } from "../layout/qmp.ts";
import { RangeSet } from "../layout/range-set.ts";
import { QemuMachine } from "../targets/qemu/machine.ts";
import { nodeSha256 } from "../targets/sha256.ts";
import { hostNow } from "./window/poller.ts";

/** No event tells of a DIMM before the guest has it, and then it is late: the devices are asked for this often. */
const POLL_MS = 20;

/** One header installed from outside. */
export interface OutsideInstall {
  /** When it was there, milliseconds of the host's monotonic clock. */
  readonly at: number;
  readonly pauseMicroseconds: number | undefined;
  readonly bytesWritten: number;
}

/** Keeps one guest's header true until it is stopped. */
export class OutsideKeeper implements AsyncDisposable {
  readonly #machine: QemuMachine;
  readonly #keeper: Keeper;
  readonly #installs: OutsideInstall[] = [];
  readonly #work: Promise<void>;
  #stopped = false;

  private constructor(machine: QemuMachine, keeper: Keeper) {
    this.#machine = machine;
    this.#keeper = keeper;
    this.#work = this.#watch();
    // Whoever stops it is told.
    this.#work.catch(() => undefined);
  }

  /** Looks at the machine once, so that the first install has only the header left to hash, and goes on watching. */
  static async start(qmpPath: string): Promise<OutsideKeeper> {
    const machine = await QemuMachine.open(qmpPath);
    try {
      const keeper = new Keeper(machine, nodeSha256);
      const { after } = await keeper.reconcile();
      if (after.image) await keeper.prepare(after.image);
      return new OutsideKeeper(machine, keeper);
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Ends the watching after a last look. @throws what a reconcile threw meanwhile. */
  async stop(): Promise<readonly OutsideInstall[]> {
    this.#stopped = true;
    await this.#work;
    await this.#reconcile();
    return this.#installs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    await this.#work.catch(() => undefined);
    await this.#machine[Symbol.asyncDispose]();
  }

  async #watch(): Promise<void> {
    let known = JSON.stringify(await this.#devices());
    while (!this.#stopped) {
      await delay(POLL_MS);
      const now = JSON.stringify(await this.#devices());
      if (now === known) continue;
      known = now;
      await this.#reconcile();
    }
  }

  async #devices(): Promise<readonly string[]> {
    const devices = parseMemoryDevices(await this.#machine.guest.memoryDevices());
    return devices.map(({ range }) => (range ? RangeSet.of([range]).toString() : ""));
  }

  async #reconcile(): Promise<void> {
    const { installed } = await this.#keeper.reconcile();
    if (!installed) return;
    const bytesWritten = installed.writes.reduce((sum, { after }) => sum + after.length, 0);
    this.#installs.push({ at: hostNow(), pauseMicroseconds: installed.pauseMicroseconds, bytesWritten });
  }
}
