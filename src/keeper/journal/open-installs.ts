/** Installs of which the journal tells that they began, and not how they ended. */
import type { Entry, EntryBody, EntryRef, WriteText } from "./entry.ts";

type Intent = Extract<Entry, { readonly entry: "intent" }>;
type Planned = Extract<Entry, { readonly entry: "planned" }>;

/** An install that was begun and has no end. */
export interface PendingInstall {
  readonly ref: EntryRef;
  readonly intent: Intent;
  /** What was to be written; null where it was not known yet when the machine was paused. */
  readonly writes: readonly WriteText[] | null;
  /** Whether the machine stood still by our pause when it was last told of. */
  readonly isPauseOurs: boolean;
}

/** Takes entries in their order. One install for each target: who begins another one has seen the image whole. */
export class OpenInstalls {
  readonly #byTarget = new Map<
    string,
    { ref: EntryRef; intent: Intent; planned: Planned | undefined; isPauseOurs: boolean }
  >();

  take(entry: Entry): void {
    switch (entry.entry) {
      case "intent": {
        const ref = entry.repeats ?? { writer: entry.writer, seq: entry.seq };
        const isPauseOurs = entry.wasRunning === true;
        this.#byTarget.set(entry.target, { ref, intent: entry, planned: undefined, isPauseOurs });
        break;
      }
      case "planned": {
        const open = this.#open(entry.target, entry.intent);
        if (open) open.planned = entry;
        break;
      }
      case "installed":
        if (entry.intent && this.#open(entry.target, entry.intent)) this.#byTarget.delete(entry.target);
        break;
      case "outcome":
        if (entry.result !== "left-open" && this.#open(entry.target, entry.intent))
          this.#byTarget.delete(entry.target);
        break;
      case "resumed": {
        const open = this.#byTarget.get(entry.target);
        if (open) open.isPauseOurs = false;
        break;
      }
      default:
    }
  }

  of(target: string): PendingInstall | undefined {
    const open = this.#byTarget.get(target);
    if (!open) return undefined;
    const { ref, intent, planned, isPauseOurs } = open;
    return { ref, intent, writes: planned?.writes ?? intent.writes, isPauseOurs };
  }

  /** Everything that has to be said again where the entries themselves may be thrown away. */
  *repeats(): Iterable<{ readonly ref: EntryRef; readonly body: EntryBody }> {
    for (const { ref, intent, planned, isPauseOurs } of this.#byTarget.values()) {
      yield { ref, body: bodyOf(isPauseOurs ? intent : { ...intent, wasRunning: false }) };
      if (planned) yield { ref: { writer: planned.writer, seq: planned.seq }, body: bodyOf(planned) };
    }
  }

  #open(
    target: string,
    ref: EntryRef,
  ): { ref: EntryRef; intent: Intent; planned: Planned | undefined; isPauseOurs: boolean } | undefined {
    const open = this.#byTarget.get(target);
    return open && open.ref.writer === ref.writer && open.ref.seq === ref.seq ? open : undefined;
  }
}

/** An entry without its head. */
function bodyOf(entry: Entry & EntryBody): EntryBody {
  const { schemaVersion: _1, writer: _2, seq: _3, at: _4, up: _5, repeats: _6, ...body } = entry;
  return body;
}
