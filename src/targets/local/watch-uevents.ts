/**
 * Tells when this machine's memory or CPUs may have changed: by the kernel's uevents, by a child that hears them, or by
 * a timer where neither can be had. It only ever says "look again"; what changed is read from the machine.
 *
 * A storm of events is told as few times as it is read, and whoever is told has to cope with being told again while
 * the last time is still being answered: `watch` of the keeper looks once for all that came meanwhile.
 */
import { concernsLayout } from "./uevent.ts";
import {
  messageOf,
  netlinkSource,
  type StartSource,
  udevadmSource,
  type UeventListener,
} from "./uevent-sources.ts";

/** How changes are heard. */
export type UeventSourceKind = "starting" | "netlink" | "udevadm" | "timer";

/** What was heard since the beginning, whichever way. */
export interface UeventCounters {
  /** Uevents of any device; of memory and CPUs only, where a child hears them. */
  readonly events: number;
  /** Those of memory and CPUs. */
  readonly changes: number;
  /** How often events were lost because too many came at once. */
  readonly overruns: number;
  /** Messages that came from a process, not from the kernel: not listened to. */
  readonly foreign: number;
  /** Messages of the kernel that could not be read: taken for a change. */
  readonly malformed: number;
}

/** A watch that is under way. */
export interface UeventWatch extends Disposable {
  readonly source: UeventSourceKind;
  /** The same in words, for people: `the kernel's uevents by netlink`. */
  readonly sourceInWords: string;
  readonly counters: UeventCounters;
}

/** How to watch. */
export interface UeventWatchOptions {
  /** Memory or CPUs may have changed. Called once, too, as soon as it is listened: what came before was not heard. */
  readonly onChange: () => void;
  /** Why changes are heard in a worse way from now on, or were lost; a sentence without a full stop. */
  readonly onTrouble: (trouble: string) => void;
  /** Milliseconds between two looks where nothing tells of changes. Default 1000. */
  readonly timerMs?: number;
  /** The ways to hear, best first, before the timer; for tests. Default: netlink, then udevadm. */
  readonly sources?: readonly UeventSourceChoice[];
}

/** One way to hear. */
export interface UeventSourceChoice {
  readonly kind: "netlink" | "udevadm";
  readonly start: StartSource;
}

const TIMER_MS = 1000;

/** Begins to watch; what cannot be had is told by `onTrouble`, and the next best way is taken. */
export function watchUevents(options: UeventWatchOptions): UeventWatch {
  const watch = new Watch(options);
  watch.start();
  return watch;
}

class Watch implements UeventWatch {
  readonly #options: UeventWatchOptions;
  readonly #timerMs: number;
  readonly #remaining: UeventSourceChoice[];
  readonly #counters = { events: 0, changes: 0, overruns: 0, foreign: 0, malformed: 0 };
  #source: UeventSourceKind = "starting";
  #listening: Disposable | undefined;
  #ended = false;

  constructor(options: UeventWatchOptions) {
    this.#options = options;
    this.#timerMs = options.timerMs ?? TIMER_MS;
    this.#remaining = [
      ...(options.sources ?? [
        { kind: "netlink", start: netlinkSource() },
        { kind: "udevadm", start: udevadmSource() },
      ]),
    ];
  }

  get source(): UeventSourceKind {
    return this.#source;
  }

  get sourceInWords(): string {
    return inWords(this.#source, this.#timerMs);
  }

  get counters(): UeventCounters {
    return { ...this.#counters };
  }

  [Symbol.dispose](): void {
    this.#ended = true;
    this.#listening?.[Symbol.dispose]();
    this.#listening = undefined;
  }

  /** Takes the next best way. */
  start(): void {
    const { kind, start } = this.#remaining.shift() ?? { kind: "timer", start: this.#startTimer };
    this.#source = "starting";
    start(this.#listener(kind)).then(
      (listening) => {
        if (this.#ended) {
          listening[Symbol.dispose]();
          return;
        }
        this.#source = kind;
        this.#listening = listening;
        this.#options.onChange();
      },
      (error: unknown) => this.#next(kind, messageOf(error)),
    );
  }

  readonly #startTimer = async (): Promise<Disposable> => {
    const timer = setInterval(this.#options.onChange, this.#timerMs);
    return { [Symbol.dispose]: () => clearInterval(timer) };
  };

  #next(kind: UeventSourceKind, reason: string): void {
    if (this.#ended) return;
    this.#listening?.[Symbol.dispose]();
    this.#listening = undefined;
    const instead = inWords(this.#remaining[0]?.kind ?? "timer", this.#timerMs);
    this.#options.onTrouble(
      `Cannot hear of changes by ${inWords(kind, this.#timerMs)}: ${reason}; trying ${instead}`,
    );
    this.start();
  }

  #listener(kind: UeventSourceKind): UeventListener {
    let again = false;
    const counters = this.#counters;
    return {
      event: (event) => {
        const concerned = concernsLayout(event);
        again ||= concerned;
        counters.events++;
        if (concerned) counters.changes++;
      },
      malformed: () => {
        counters.malformed++;
        again = true;
      },
      foreign: () => {
        counters.foreign++;
      },
      overrun: () => {
        again = true;
        // Told once; how often it was, is counted.
        if (counters.overruns++ === 0)
          this.#options.onTrouble("Events came faster than they could be read, and some were lost");
      },
      settled: () => {
        if (!again || this.#ended) return;
        again = false;
        this.#options.onChange();
      },
      ended: (reason) => this.#next(kind, reason),
    };
  }
}

function inWords(kind: UeventSourceKind, timerMs: number): string {
  if (kind === "netlink") return "the kernel's uevents by netlink";
  if (kind === "udevadm") return "the kernel's uevents by udevadm monitor";
  if (kind === "timer") return `a timer, every ${timerMs} ms`;
  return "nothing yet";
}
