/** Hands each QMP event to those who listen for it and those who wait for it. */
import { closedDuring, type QmpClosedError, QmpTimeoutError, withCallSite } from "./qmp-errors.ts";
import type { QmpEvent } from "./qmp-message.ts";

interface Waiter {
  readonly matches: (event: QmpEvent) => boolean;
  readonly resolve: (event: QmpEvent) => void;
  readonly reject: (error: Error) => void;
}

/** Events are not kept: who wants one has to be here before it comes. */
export class EventHub {
  readonly #source: string;
  readonly #waiters = new Set<Waiter>();
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  #ended: QmpClosedError | undefined;

  /** @param source who sends the events, for messages. */
  constructor(source: string) {
    this.#source = source;
  }

  /** Calls `listener` for every later event, in order. @returns a function that ends that. */
  listen(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /**
   * The next event that matches.
   *
   * @throws {QmpTimeoutError} where none comes in `timeoutMs`.
   * @throws {QmpClosedError} where no more events come, or none until {@link end}.
   */
  wait(wanted: string | ((event: QmpEvent) => boolean), timeoutMs: number): Promise<QmpEvent> {
    const at = new Error("call site");
    return new Promise((resolve, reject) => {
      if (this.#ended !== undefined) {
        reject(withCallSite(closedDuring("an event was awaited", this.#ended), at));
        return;
      }
      const finish = (act: () => void): void => {
        clearTimeout(timer);
        this.#waiters.delete(waiter);
        act();
      };
      const waiter: Waiter = {
        matches: typeof wanted === "string" ? (event) => event.event === wanted : wanted,
        resolve: (event) => finish(() => resolve(event)),
        reject: (error) => finish(() => reject(withCallSite(error, at))),
      };
      const timer = setTimeout(() => {
        const name = typeof wanted === "string" ? `event ${wanted}` : "the awaited event";
        const sentence = `${this.#source} did not send ${name} within ${timeoutMs} ms`;
        waiter.reject(new QmpTimeoutError(sentence, timeoutMs));
      }, timeoutMs);
      this.#waiters.add(waiter);
    });
  }

  /** Delivers one event. Never throws: what a listener throws becomes an uncaught exception. */
  deliver(event: QmpEvent): void {
    for (const waiter of this.#waiters) if (waiter.matches(event)) waiter.resolve(event);
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (error) {
        // A listener's mistake is its own: it must not end the connection of everybody else.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  /** No more events come: rejects every wait, each with an error of its own, and every later one. */
  end(reason: QmpClosedError): void {
    this.#ended = reason;
    for (const waiter of this.#waiters) waiter.reject(closedDuring("an event was awaited", reason));
  }
}
