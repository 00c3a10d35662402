/** Virtual time: discrete events, in order of time and, at equal instants, in order of scheduling. */
import { SimulationError } from "../error.ts";

interface Entry {
  /** Milliseconds. */
  readonly at: number;
  /** Order of scheduling. */
  readonly order: number;
  /** Undefined once cancelled. */
  work: (() => void) | undefined;
}

/** Takes a scheduled event back; it does nothing once the event has happened. */
export type Cancel = () => void;

/** A simulation of more events than this has lost its end: a policy that reloads for its own events, say. */
const MAX_EVENTS = 50_000_000;

/** A clock that stands still between events. Times are milliseconds since its start. */
export class VirtualClock {
  readonly #heap: Entry[] = [];
  #now = 0;
  #scheduled = 0;
  #happened = 0;

  get now(): number {
    return this.#now;
  }

  /** Events that have happened. */
  get happened(): number {
    return this.#happened;
  }

  /** Has `work` happen in `delay` ms, after everything that is already scheduled for that instant. */
  after(delay: number, work: () => void): Cancel {
    if (!(delay >= 0 && Number.isFinite(delay)))
      throw new SimulationError("that event", `a delay of ${delay} ms is none`);
    const entry: Entry = { at: this.#now + delay, order: this.#scheduled++, work };
    this.#push(entry);
    return () => {
      entry.work = undefined;
    };
  }

  /**
   * Lets events happen until there are none left, or until the next one lies behind `until`.
   *
   * @throws {SimulationError} where they do not come to an end.
   */
  run(until: number = Infinity): void {
    for (let next = this.#heap[0]; next && next.at <= until; next = this.#heap[0]) {
      this.#pop();
      const { work } = next;
      if (!work) continue;
      if (++this.#happened > MAX_EVENTS)
        throw new SimulationError("that scenario", `it does not end within ${MAX_EVENTS} events`);
      this.#now = next.at;
      work();
    }
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let i = heap.length;
    heap.push(entry);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!before(entry, heap[parent]!)) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
