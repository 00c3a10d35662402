/** Lines that wait for the disk, and those who wait for them. */

/** What becomes of one line; `false` where it could not be done now. Neither rejects. */
export interface Appended {
  /** The system has it: it survives the death of this process. */
  readonly written: Promise<boolean>;
  /** The disk has it. */
  readonly synced: Promise<boolean>;
}

export interface Line {
  readonly text: string;
  /** Whether the disk is to be waited for. */
  readonly durable: boolean;
  readonly written: (done: boolean) => void;
  readonly synced: (done: boolean) => void;
}

/** One write(2) takes at most about this much. */
const BATCH_BYTES = 1024 * 1024;

export class WaitingLines {
  readonly #limit: number;
  #lines: Line[] = [];
  /** Lines that were given up since the last one that says so. */
  missing = 0;
  /** Lines that were given up. */
  lost = 0;

  /** @param limit lines that wait at most; then the oldest ones are lost. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#lines.length;
  }

  add(text: string, durable: boolean): Appended {
    const [written, tellWritten] = promise();
    const [synced, tellSynced] = promise();
    this.#lines.push({ text, durable, written: tellWritten, synced: tellSynced });
    return { written, synced };
  }

  /** The oldest lines, for one write. */
  batch(): readonly Line[] {
    let bytes = 0;
    const end = this.#lines.findIndex(({ text }, i) => (bytes += text.length) > BATCH_BYTES && i > 0);
    return end === -1 ? [...this.#lines] : this.#lines.slice(0, end);
  }

  remove(lines: readonly Line[]): void {
    const done = new Set(lines);
    // Some may have been given up meanwhile, when more came than can wait.
    this.#lines = this.#lines.filter((line) => !done.has(line));
  }

  /** Those who wait need not any more; the lines stay. */
  release(): void {
    for (const line of this.#lines) settle(line);
  }

  /** Gives up the oldest lines where there are too many. */
  trim(): void {
    const excess = this.#lines.length - this.#limit;
    if (excess <= 0) return;
    for (const line of this.#lines.splice(0, excess)) settle(line);
    this.missing += excess;
    this.lost += excess;
  }
}

function settle({ written, synced }: Line): void {
  written(false);
  synced(false);
}

/** A promise, and what settles it; Node 20 has no `Promise.withResolvers`. */
function promise(): readonly [Promise<boolean>, (done: boolean) => void] {
  let settleIt: ((done: boolean) => void) | undefined;
  const settled = new Promise<boolean>((resolve) => (settleIt = resolve));
  return [settled, settleIt!];
}
