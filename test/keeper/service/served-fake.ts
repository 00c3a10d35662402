/** Machines for a service: each stands for what a target's name leads to, until it is lost. */
import { setTimeout as delay } from "node:timers/promises";
import { vi } from "vitest";
import { Keeper } from "../../../src/keeper/keeper.ts";
import type { PausedWork } from "../../../src/keeper/machine.ts";
import type { ServiceEvent } from "../../../src/keeper/service-event.ts";
import type { ServedMachine } from "../../../src/keeper/service/kept.ts";
import { Service, type ServiceOptions } from "../../../src/keeper/service/service.ts";
import { type Listed, named, type TargetSource } from "../../../src/keeper/service/source.ts";
import type { MachineLayout } from "../../../src/layout/machine.ts";
import { nodeSha256 } from "../../../src/targets/sha256.ts";
import { FakeTarget } from "../fake-target.ts";

/** A fake machine that can be opened, lost and let go of. */
export class ServedFake extends FakeTarget implements ServedMachine {
  opened = 0;
  closed = 0;
  looks = 0;
  interrupted = false;
  /** Where it is set, a pause takes this long. */
  pauseMs = 0;
  /** What every access throws. */
  loss: Error | undefined;
  #pause: Promise<unknown> | undefined;

  constructor() {
    super("file");
    this.memory.onRead = () => {
      if (this.loss) throw this.loss;
    };
  }

  /** The machine ends, or stops to answer. */
  lose(message: string, mark: Readonly<Record<string, unknown>> = { machineLost: true }): void {
    this.loss = Object.assign(new Error(message), mark);
    this.tell();
  }

  override async layout(): Promise<MachineLayout> {
    this.looks++;
    return await super.layout();
  }

  override async paused<T>(work: () => Promise<T>): Promise<PausedWork<T>> {
    if (this.interrupted) throw new Error("Interrupted before the pause");
    const pause = super.paused(async () => {
      if (this.pauseMs > 0) await delay(this.pauseMs);
      return await work();
    });
    this.#pause = pause;
    return await pause;
  }

  async isStopped(): Promise<boolean> {
    return !this.running;
  }

  async letRun(): Promise<void> {
    this.running = true;
  }

  async interrupt(): Promise<void> {
    this.interrupted = true;
    await this.#pause?.catch(() => undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.closed++;
  }
}

/** A pattern whose targets a test chooses. */
export class Listing implements TargetSource {
  #listed: ((targets: readonly Listed[]) => void) | undefined;
  readonly #first: readonly Listed[] | undefined;

  /** @param first listed at once. */
  constructor(first?: readonly Listed[]) {
    this.#first = first;
  }

  watch(listed: (targets: readonly Listed[]) => void): Disposable {
    this.#listed = listed;
    if (this.#first) listed(this.#first);
    return { [Symbol.dispose]: () => (this.#listed = undefined) };
  }

  list(...targets: readonly Listed[]): void {
    this.#listed?.(targets);
  }
}

/** Machines by target, and a service that opens them. */
export class Host implements AsyncDisposable {
  readonly machines: Map<string, ServedFake> = new Map();
  readonly events: ServiceEvent[] = [];
  readonly troubles: string[] = [];
  /** In place of opening a machine. */
  opening: ((target: string, signal: AbortSignal) => Promise<ServedMachine> | undefined) | undefined;
  readonly service: Service;

  constructor(options: Partial<ServiceOptions> = {}) {
    this.service = new Service({
      open: async (target, { signal }) => {
        const other = this.opening?.(target, signal);
        if (other) return await other;
        const machine = this.machines.get(target);
        if (!machine) throw Object.assign(new Error(`No socket for ${target}`), { machineAbsent: true });
        machine.opened++;
        machine.loss = undefined;
        machine.interrupted = false;
        return machine;
      },
      source: named,
      makeKeeper: (_, machine) => new Keeper(machine, nodeSha256),
      listeners: [{ onEvent: (event) => this.events.push(event) }],
      onTrouble: (words) => this.troubles.push(words),
      lookEveryMs: 20,
      retryMs: [5, 40],
      ...options,
    });
  }

  /** Starts a machine behind `target`. */
  start(target: string): ServedFake {
    const machine = new ServedFake();
    this.machines.set(target, machine);
    return machine;
  }

  /** What was told of `target`: kinds, and verdicts by their word. */
  told(target: string): readonly string[] {
    return this.events
      .filter((event) => event.target === target)
      .map(({ event }) => (event.kind === "verdict" ? event.audit.verdict : event.kind));
  }

  /** Waits until the last that was told of `target` is `word`. */
  async until(target: string, word: string, times = 1): Promise<void> {
    const enough = (): boolean => this.told(target).filter((each) => each === word).length >= times;
    await vi.waitUntil(enough, { timeout: 15_000, interval: 2 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.service.stop(1000);
  }
}
