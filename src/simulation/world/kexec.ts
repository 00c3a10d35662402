/** What programs and the kernel do to the loaded image, and how long they hold the kexec lock for it. */
import type { VirtualClock } from "./clock.ts";
import type { Costs } from "./costs.ts";
import { type Program, sleep } from "./process.ts";
import { Lock } from "./resources.ts";
import type { MachineState } from "./state.ts";

/** What was done to the image, counted. */
export interface KexecCounts {
  /** Whole loads, with or without an unload before. */
  readonly loads: number;
  /** Loads that found the kexec lock taken (EBUSY). */
  readonly failedLoads: number;
  readonly rearms: number;
  /** Rewrites of the header in place, by the kernel or by a keeper from outside. */
  readonly rewrites: number;
  /** Events that the kernel's handler lost because the kexec lock was taken. */
  readonly lostEvents: number;
  readonly bytesCopied: number;
}

/** ELF header, two notes, kernel text, and one program header for each possible CPU and each DIMM. */
const PHDR_SIZE = 56;
const FIXED_HEADERS = 64 + 4 * PHDR_SIZE;

/** The kexec system calls and the kernel's handler of one machine. */
export class Kexec {
  readonly #clock: VirtualClock;
  readonly #costs: Costs;
  readonly #state: MachineState;
  /** `__crash_hotplug_lock`: handlers wait for each other (e2a8f20dd8e9); for the kexec lock they do not wait. */
  readonly #handlers: Lock;
  readonly #counts = {
    loads: 0,
    failedLoads: 0,
    rearms: 0,
    rewrites: 0,
    lostEvents: 0,
    bytesCopied: 0,
  };

  constructor(clock: VirtualClock, costs: Costs, state: MachineState) {
    this.#clock = clock;
    this.#costs = costs;
    this.#state = state;
    this.#handlers = new Lock(clock);
  }

  get counts(): KexecCounts {
    return this.#counts;
  }

  /** `kexec -p -u`. @returns its exit status. */
  *unload(): Program<number> {
    yield sleep(this.#clock, this.#costs.unload);
    if (this.#state.locked) return 1;
    this.#state.unload();
    return 0;
  }

  /**
   * `kexec -p`: reads what the machine has, prepares, then the system call with the lock held. What was loaded before
   * is given up as that begins (do_kexec_load frees the old image first). @returns its exit status.
   */
  *load(): Program<number> {
    const { loadCall, loadPerDimm, imageBytes } = this.#costs;
    const load = this.#costs.load + loadPerDimm * this.#state.dimmCount;
    const loader = this.#state.snapshot();
    yield sleep(this.#clock, Math.max(0, load - loadCall));
    if (this.#state.locked) {
      this.#counts.failedLoads++;
      return 1;
    }
    this.#state.setLocked(true);
    try {
      yield sleep(this.#clock, Math.min(load, loadCall));
    } finally {
      // A signal waits until the system call is through.
      this.#state.load(loader);
      this.#counts.loads++;
      this.#counts.bytesCopied += imageBytes;
      this.#state.setLocked(false);
    }
    return 0;
  }

  /** kexec_load of the header alone, over what is resident. @returns its exit status. */
  *rearm(): Program<number> {
    const loader = this.#state.snapshot();
    if (this.#state.locked || !this.#state.loaded) return 1;
    this.#state.setLocked(true);
    try {
      yield sleep(this.#clock, this.#costs.rearm);
      this.#state.load(loader);
      this.#counts.rearms++;
      this.#counts.bytesCopied += this.#headerBytes();
    } finally {
      this.#state.setLocked(false);
    }
    return 0;
  }

  /** crash_handle_hotplug_event: an event that comes while the kexec lock is taken is lost, with a line in the log. */
  *handler(): Program {
    yield this.#handlers.take();
    try {
      if (this.#state.locked) {
        this.#counts.lostEvents++;
        return;
      }
      if (!this.#state.loaded) return;
      this.#state.setLocked(true);
      try {
        yield sleep(this.#clock, this.#costs.handler);
        this.#rewrite("kernel");
      } finally {
        this.#state.setLocked(false);
      }
    } finally {
      this.#handlers.release();
    }
  }

  /** A keeper from outside installs: the machine stands still, and goes on with a true header. */
  install(): void {
    if (this.#state.loaded && !this.#state.locked) this.#rewrite("keeper");
  }

  #rewrite(by: "kernel" | "keeper"): void {
    this.#state.rewrite(by);
    this.#counts.rewrites++;
    this.#counts.bytesCopied += this.#headerBytes();
  }

  #headerBytes(): number {
    return FIXED_HEADERS + PHDR_SIZE * (this.#state.cpus + this.#state.dimmCount);
  }
}
