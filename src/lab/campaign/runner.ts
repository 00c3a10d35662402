/** Runs a campaign's trials, some at a time, and leaves out those that are done already. */
import { LostGuestError, MeasurementError } from "../errors.ts";
import type { LoadCall } from "../guest-actions.ts";
import type { LabParts } from "../scenario.ts";
import { QmpError } from "../../targets/qemu/qmp-errors.ts";
import { bootFresh, type GuestsOptions, SavedGuest } from "./guests.ts";
import { type PlanOptions, planTrial, type TrialPlan } from "./plan.ts";
import type { ReadyFacts, ReadyOptions } from "./prepare.ts";
import { retried, runPool } from "./pool.ts";
import { runTrial, type TrialResult } from "./trial.ts";
import type { ReadyGuest } from "./guests.ts";
import { type KeepingWay, keepingWay, type KeepingName } from "./ways.ts";

/** What differs between the columns of a campaign's table. */
export interface Variant {
  readonly kernel: string;
  readonly load: LoadCall;
  readonly way: KeepingName;
}

/** One trial of one variant. */
export interface Task extends Variant {
  readonly plan: TrialPlan;
  /** Tasks with the same one start from the same saved guest. */
  readonly start: string;
  readonly zone: ReadyOptions["zone"];
  readonly cpus: boolean;
}

/** A trial's name in the results. */
export function trialId({ kernel, load, way }: Variant, index: number): string {
  return `${kernel}/${load}/${way}/${index}`;
}

/** What a task list is made of. */
export interface TaskOptions extends PlanOptions {
  readonly variants: readonly Variant[];
  /** Numbers of the trials that each variant gets. */
  readonly indexes: readonly number[];
  /** Trials of a variant that start from one saved guest, before another is booted: a KASLR layout each. */
  readonly perLayout: number;
  /** Ids of trials that are done. */
  readonly done: ReadonlySet<string>;
}

/**
 * All tasks, in the order in which they are run: a layout's worth of each kernel and system call, with the ways taking
 * turns, so that a campaign that is stopped has as much of one as of another. Ways that need the same guest share it;
 * those of one kernel and system call are the only saved guests that are there at a time.
 */
export function tasksOf(options: TaskOptions): readonly Task[] {
  const { variants, indexes, perLayout, done } = options;
  const groups = new Map<string, readonly Variant[]>();
  for (const variant of variants) {
    const key = `${variant.kernel} ${variant.load}`;
    groups.set(key, [...(groups.get(key) ?? []), variant]);
  }
  const tasks: Task[] = [];
  for (let layout = 0; layout * perLayout < indexes.length; layout++) {
    const part = indexes.slice(layout * perLayout, (layout + 1) * perLayout);
    const zone = layout % 2 === 0 ? "online_movable" : "online";
    for (const [key, group] of groups) {
      for (const index of part) {
        for (const variant of group) {
          if (done.has(trialId(variant, index))) continue;
          const start = `${key} ${ownGuest(variant)} ${layout}`;
          tasks.push({
            ...variant,
            plan: planTrial(index, options),
            start,
            zone,
            cpus: options.cpus === true,
          });
        }
      }
    }
  }
  return tasks;
}

/** Which saved guest of its kernel and system call a way starts from: one in which somebody is at work has its own. */
export function ownGuest({ way }: Pick<Variant, "way">): string {
  const { rules, isInside } = keepingWay(way);
  return rules || isInside ? way : "bare";
}

/** A trial that was run. */
export interface Ran {
  readonly task: Task;
  readonly facts: ReadyFacts;
  readonly result: TrialResult;
  readonly ms: number;
  /** Guests that were lost before their panic; the trial was begun anew. */
  readonly lost: number;
}

/** How trials are run. */
export interface RunnerOptions extends Omit<GuestsOptions, "parts"> {
  /** What guests with that kernel are made of. */
  readonly partsOf: (kernel: string) => Promise<LabParts>;
  /** How many trials at a time. */
  readonly jobs: number;
  /** No trial is begun later than this, `performance.now()`. */
  readonly deadline: number;
  /** Called with each trial when it is done and its guest still there; what it writes is waited for. */
  readonly onTrial: (ran: Ran, ready: ReadyGuest) => Promise<void>;
}

/** A trial is begun anew so often where guests are lost before the panic. */
const MAX_LOST = 3;

/**
 * Runs `tasks`.
 *
 * @returns how many were run; fewer than all where the time was up.
 * @throws the signal's reason where it aborted: trials under way are given up, no guest is left.
 */
export async function runTasks(tasks: readonly Task[], options: RunnerOptions): Promise<number> {
  const { jobs, deadline, signal, log } = options;
  await using saved = new SavedGuests(tasks, options);
  return await runPool(tasks, {
    jobs,
    deadline,
    signal,
    run: async (task) => {
      const onLoss = (error: unknown): void =>
        log(`${trialId(task, task.plan.index)} is begun anew: ${String(error)}`);
      await retried(
        MAX_LOST,
        (error) => isLost(error, signal),
        onLoss,
        async (lost) => await runTask(task, lost, saved, options),
      );
      saved.release(task);
    },
  });
}

/** A guest that dies before its panic, or with its QEMU, says nothing about kdump; nor does one that we have killed. */
function isLost(error: unknown, signal: AbortSignal | undefined): boolean {
  return signal?.aborted !== true && (error instanceof LostGuestError || error instanceof QmpError);
}

async function runTask(task: Task, lost: number, saved: SavedGuests, options: RunnerOptions): Promise<void> {
  const started = performance.now();
  const way = keepingWay(task.way);
  await using ready = await saved.ready(task);
  checkKernel(ready, task, way);
  const result = await runTrial(ready, task.plan, way);
  await options.onTrial({ task, facts: ready.facts, result, ms: performance.now() - started, lost }, ready);
}

function checkKernel({ facts }: ReadyGuest, task: Task, way: KeepingWay): void {
  if (way.needsKernel && !facts.kernelUpdates)
    throw new MeasurementError(
      `Linux ${facts.release} with an image loaded by ${task.load} does not update its header itself (crash_hotplug is not 1)`,
    );
}

/** The saved guests that are in use: each made when its first task comes, gone after its last. */
class SavedGuests implements AsyncDisposable {
  readonly #options: RunnerOptions;
  readonly #guests = new Map<string, Promise<SavedGuest>>();
  readonly #left = new Map<string, number>();

  constructor(tasks: readonly Task[], options: RunnerOptions) {
    this.#options = options;
    for (const { start } of tasks) this.#left.set(start, (this.#left.get(start) ?? 0) + 1);
  }

  async ready(task: Task): Promise<ReadyGuest> {
    const guests = { ...this.#options, parts: await this.#options.partsOf(task.kernel) };
    const wanted = { load: task.load, way: keepingWay(task.way), zone: task.zone, cpus: task.cpus };
    if (task.plan.fresh) return bootFresh(guests, wanted);
    let guest = this.#guests.get(task.start);
    if (!guest) {
      guest = SavedGuest.make(guests, wanted);
      this.#guests.set(task.start, guest);
      // Whoever waits for it is told; the next one makes another.
      guest.catch(() => this.#guests.delete(task.start));
    }
    return (await guest).restore(this.#options.signal);
  }

  /** One task that starts from it is done. */
  release({ start }: Task): void {
    const left = this.#left.get(start)! - 1;
    this.#left.set(start, left);
    if (left > 0) return;
    const guest = this.#guests.get(start);
    this.#guests.delete(start);
    void guest?.then(async (saved) => await saved[Symbol.asyncDispose]()).catch(() => undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const guest of this.#guests.values()) {
      const saved = await guest.catch(() => undefined);
      await saved?.[Symbol.asyncDispose]();
    }
  }
}
