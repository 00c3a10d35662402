/** Our keeper at its work while somebody else plugs. */
import { Keeper } from "../keeper/keeper.ts";
import { watch } from "../keeper/watch.ts";
import { bytesWritten } from "../image/plan.ts";
import { QemuMachine } from "../targets/qemu/machine.ts";
import { nodeSha256 } from "../targets/sha256.ts";
import { hostNow } from "./window/poller.ts";

/** One header installed from outside. */
export interface OutsideInstall {
  /** When it was there, milliseconds of the host's monotonic clock. */
  readonly at: number;
  readonly pauseMicroseconds: number | undefined;
  readonly bytesWritten: number;
  /** From the first sight of the change, milliseconds; undefined where a look was due anyway. */
  readonly reactionMs: number | undefined;
}

/** Keeps one guest's header true until it is stopped. */
export class OutsideKeeper implements AsyncDisposable {
  readonly #machine: QemuMachine;
  readonly #keeper: Keeper;
  readonly #installs: OutsideInstall[] = [];
  readonly #ended = new AbortController();
  readonly #work: Promise<void>;
  #failure: Error | undefined;

  private constructor(machine: QemuMachine, keeper: Keeper) {
    this.#machine = machine;
    this.#keeper = keeper;
    this.#work = watch(machine, keeper, {
      signal: this.#ended.signal,
      onEvent: (event) => {
        if (event.kind === "failed") this.#failure ??= event.error;
        if (event.kind !== "installed") return;
        const { installed, reactionMs } = event;
        const { pauseMicroseconds, writes } = installed;
        const at = hostNow();
        this.#installs.push({ at, pauseMicroseconds, bytesWritten: bytesWritten(writes), reactionMs });
      },
    });
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

  /** What was installed until now, the first look left out. */
  get installs(): readonly OutsideInstall[] {
    return this.#installs;
  }

  /** What kept a header from being installed first. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Ends the watching after a last look. @throws what kept a header from being installed meanwhile. */
  async stop(): Promise<readonly OutsideInstall[]> {
    this.#ended.abort();
    await this.#work;
    if (this.#failure) throw this.#failure;
    await this.#keeper.reconcile();
    return this.#installs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort();
    await this.#work.catch(() => undefined);
    await this.#machine[Symbol.asyncDispose]();
  }
}
