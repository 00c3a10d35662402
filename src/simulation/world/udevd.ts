/**
 * udevd as a queue of events (systemd 219 to 257): one worker for each event, never two for one device at the same
 * time, rules first and then RUN, and a worker that takes too long is killed.
 */
import type { Cancel, VirtualClock } from "./clock.ts";
import { type Process, type Program, spawn, type Wait } from "./process.ts";

/** One uevent. */
export interface Uevent {
  readonly action: "add" | "remove" | "online" | "offline";
  readonly kind: "memory" | "cpu";
  /** Which block or CPU; events of one device are worked on in order. */
  readonly device: string;
  /** DIMM and block of a memory event. */
  readonly dimm: number;
  readonly block: number;
}

/** How udevd is set up. */
export interface UdevdOptions {
  /** children_max. */
  readonly workers: number;
  /** event_timeout, ms. */
  readonly timeout: number;
  /** From the kernel's word until an event can be worked on, ms. */
  readonly latency: number;
  /** What a worker does with an event. */
  readonly handle: (event: Uevent) => Program;
}

/** A worker at an event. */
interface Job {
  readonly event: Uevent;
  /** ms. */
  readonly deadline: number;
  process: Process | undefined;
  ended: boolean;
}

/** `event_timeout`: 180 s in all versions. */
export const EVENT_TIMEOUT = 180_000;

/** The daemon. */
export class Udevd {
  readonly #clock: VirtualClock;
  readonly #options: UdevdOptions;
  readonly #queue: Uevent[] = [];
  /** Index of the first event in the queue: taking from the front of a long list costs its length. */
  #head = 0;
  /** Events that the kernel has told of, and nobody can work on yet. */
  #coming = 0;
  readonly #busy = new Map<string, Uevent[]>();
  /** Jobs by their deadline; those that have ended go when the timer comes by. */
  readonly #jobs: Job[] = [];
  #cancelWatch: Cancel | undefined;
  #running = 0;
  #starting = false;
  readonly #settled = new Set<() => void>();
  #processed = 0;
  #timeouts = 0;
  #lastEmpty = 0;

  constructor(clock: VirtualClock, options: UdevdOptions) {
    this.#clock = clock;
    this.#options = options;
  }

  /** Events that have been worked on to their end. */
  get processed(): number {
    return this.#processed;
  }

  /** Workers that were killed. */
  get timeouts(): number {
    return this.#timeouts;
  }

  /** Whether no event is queued or worked on: then /run/udev/queue does not exist. */
  get empty(): boolean {
    return (
      this.#coming === 0 && this.#running === 0 && this.#head === this.#queue.length && this.#busy.size === 0
    );
  }

  /** When the queue last became empty, ms. */
  get lastEmpty(): number {
    return this.#lastEmpty;
  }

  /** The kernel sends an event. */
  receive(event: Uevent): void {
    if (this.#options.latency === 0) return this.#enqueue(event);
    this.#coming++;
    this.#clock.after(this.#options.latency, () => {
      this.#coming--;
      this.#enqueue(event);
    });
  }

  #enqueue(event: Uevent): void {
    const waiting = this.#busy.get(event.device);
    // Events of one device stay in order, whatever others do meanwhile.
    if (waiting) waiting.push(event);
    else {
      this.#busy.set(event.device, []);
      this.#queue.push(event);
    }
    this.#start();
  }

  /**
   * `udevadm settle`: waits until the queue is empty, at this instant or a later one; any empty instant will do.
   * @param timeout - ms. @returns whether it became empty.
   */
  *settle(timeout: number): Program<boolean> {
    if (this.empty) return true;
    let late = false;
    yield this.#emptyOr(timeout, () => (late = true));
    return !late;
  }

  #emptyOr(timeout: number, onLate: () => void): Wait {
    return (resume) => {
      const wake = (): void => {
        cancel();
        resume();
      };
      const cancelTimer = this.#clock.after(timeout, () => {
        onLate();
        this.#settled.delete(wake);
        resume();
      });
      const cancel = (): void => {
        cancelTimer();
        this.#settled.delete(wake);
      };
      this.#settled.add(wake);
      return cancel;
    };
  }

  /** A worker that is done at once calls this again, from within: the loop that runs goes on then. */
  #start(): void {
    if (this.#starting) return;
    this.#starting = true;
    while (this.#running < this.#options.workers && this.#head < this.#queue.length) {
      this.#work(this.#queue[this.#head++]!);
      if (this.#head > 1024 && this.#head * 2 > this.#queue.length) {
        this.#queue.splice(0, this.#head);
        this.#head = 0;
      }
    }
    this.#starting = false;
  }

  #work(event: Uevent): void {
    this.#running++;
    const job: Job = {
      event,
      deadline: this.#clock.now + this.#options.timeout,
      process: undefined,
      ended: false,
    };
    this.#jobs.push(job);
    if (!this.#cancelWatch) this.#watch();
    job.process = spawn(this.#options.handle(event), () => this.#end(job));
  }

  #end(job: Job): void {
    job.ended = true;
    this.#done(job.event);
    if (this.#running > 0) return;
    this.#jobs.length = 0;
    this.#cancelWatch?.();
    this.#cancelWatch = undefined;
  }

  /** All jobs have the same time, so the oldest is the next to be late: one timer is enough for all. */
  #watch(): void {
    const oldest = this.#jobs[0];
    this.#cancelWatch =
      oldest &&
      this.#clock.after(oldest.deadline - this.#clock.now, () => {
        while (this.#jobs[0] && (this.#jobs[0].ended || this.#jobs[0].deadline <= this.#clock.now)) {
          const job = this.#jobs.shift()!;
          if (job.ended) continue;
          this.#timeouts++;
          job.process?.kill();
          this.#end(job);
        }
        this.#watch();
      });
  }

  #done(event: Uevent): void {
    this.#running--;
    this.#processed++;
    const next = this.#busy.get(event.device)!.shift();
    if (!next) this.#busy.delete(event.device);
    else this.#queue.push(next);
    this.#start();
    if (!this.empty) return;
    this.#lastEmpty = this.#clock.now;
    // A copy: who wakes may start to wait again, for the next empty instant.
    for (const wake of Array.from(this.#settled)) wake();
  }
}
