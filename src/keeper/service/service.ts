/** Keeps many targets at once, each on its own: what happens to one is nothing to the others. */
import type { ServiceListener, TargetEvent } from "../service-event.ts";
import { serviceGates } from "./gate.ts";
import type { Kept } from "./kept.ts";
import { Pace } from "./pace.ts";
import type { Listed, TargetSource } from "./source.ts";
import {
  type LoopOptions,
  type MakeKeeper,
  type OpenTarget,
  TargetLoop,
  type TargetStatus,
} from "./target-loop.ts";

/** What a service works with. */
export interface ServiceOptions {
  readonly open: OpenTarget;
  /** What a written TARGET stands for. @throws where it cannot be understood. */
  readonly source: (written: string) => TargetSource;
  readonly makeKeeper: MakeKeeper;
  readonly listeners: readonly ServiceListener[];
  /** Told of a listener that threw: nothing else comes of it. */
  readonly onTrouble: (words: string) => void;
  readonly lookEveryMs?: number | undefined;
  /** Milliseconds, monotonic; and ms since 1970. */
  readonly now?: () => number;
  readonly wallClock?: () => number;
  readonly openLimitMs?: LoopOptions["openLimitMs"];
  readonly retryMs?: LoopOptions["retryMs"];
}

interface Source {
  watching: Disposable | undefined;
  listed: readonly Listed[];
}

interface Running {
  readonly loop: TargetLoop;
  token: string;
}

/** How long a target that is not wanted any more may take, ms. */
const LET_GO_MS = 30_000;

/** Many targets, each in a loop of its own. */
export class Service {
  readonly #options: ServiceOptions;
  readonly #loopOptions: LoopOptions;
  readonly #pace: Pace;
  readonly #sources = new Map<string, Source>();
  readonly #running = new Map<string, Running>();
  #stopped = false;

  constructor(options: ServiceOptions) {
    const { open, makeKeeper, now = () => performance.now(), openLimitMs, retryMs } = options;
    this.#options = options;
    this.#pace = new Pace(now, options.lookEveryMs);
    const tell = (target: string, event: TargetEvent): void => this.#tell(target, event);
    const gates = serviceGates();
    this.#loopOptions = { open, makeKeeper, pace: this.#pace, gates, tell, now, openLimitMs, retryMs };
  }

  /** Every target that is wanted now, in the order in which they came. */
  get targets(): readonly TargetStatus[] {
    return [...this.#running.values()].map(({ loop }) => loop.status);
  }

  /** The open machine of `target`; undefined where it is not open. */
  kept(target: string): Kept | undefined {
    return this.#running.get(target)?.loop.kept;
  }

  /**
   * Keeps what `written` stands for, and nothing else: what is new is begun, what is left out is let go of.
   *
   * @throws what {@link ServiceOptions.source} throws; then everything stays as it was.
   */
  keep(written: readonly string[], lookEveryMs?: number): void {
    const wanted = new Set(written);
    const added = [...wanted]
      .filter((text) => !this.#sources.has(text))
      .map((text) => [text, this.#options.source(text)] as const);
    if (lookEveryMs !== undefined) this.#pace.lookEveryMs = lookEveryMs;
    for (const [text, { watching }] of this.#sources) {
      if (wanted.has(text)) continue;
      watching?.[Symbol.dispose]();
      this.#sources.delete(text);
    }
    for (const [text, source] of added) {
      const entry: Source = { watching: undefined, listed: [] };
      this.#sources.set(text, entry);
      entry.watching = source.watch((targets) => {
        if (this.#sources.get(text) !== entry) return;
        entry.listed = targets;
        // One that lists at once is taken in below.
        if (entry.watching !== undefined) this.#adjust(false);
      });
    }
    this.#adjust(true);
  }

  /**
   * Ends everything. What is being installed is brought to its end.
   *
   * @param limitMs how long, but for pauses that are under way.
   * @returns the targets that did not end in that time.
   */
  async stop(limitMs: number): Promise<readonly string[]> {
    this.#stopped = true;
    for (const { watching } of this.#sources.values()) watching?.[Symbol.dispose]();
    this.#sources.clear();
    const ends = [...this.#running.values()].map(async ({ loop }) => {
      return (await loop.stop(undefined, limitMs)) ? [] : [loop.target];
    });
    return (await Promise.all(ends)).flat();
  }

  /** @param letGo whether what is not listed is let go of at once: it is not wanted, and not only not there. */
  #adjust(letGo: boolean): void {
    if (this.#stopped) return;
    const wanted = new Map<string, string>();
    for (const { listed } of this.#sources.values())
      for (const { target, token } of listed) wanted.set(target, `${wanted.get(target) ?? ""} ${token}`);
    for (const [target, running] of this.#running) {
      const token = wanted.get(target);
      if (token === undefined) {
        if (letGo) void running.loop.stop("it is not wanted any more", LET_GO_MS);
        else running.loop.retire();
        continue;
      }
      running.loop.recall();
      if (token !== running.token) running.loop.poke();
      running.token = token;
    }
    for (const [target, token] of wanted) if (!this.#running.has(target)) this.#begin(target, token);
  }

  #begin(target: string, token: string): void {
    const loop = new TargetLoop(target, this.#loopOptions);
    this.#running.set(target, { loop, token });
    void loop.ended.then(() => {
      this.#running.delete(target);
      // It may have been listed again while it was let go of.
      this.#adjust(false);
    });
  }

  #tell(target: string, event: TargetEvent): void {
    const entry = { target, at: (this.#options.wallClock ?? Date.now)(), event };
    for (const listener of this.#options.listeners) {
      try {
        listener.onEvent(entry);
      } catch (error) {
        // Its own affair: the guests are kept all the same.
        this.#options.onTrouble(
          `A listener failed at ${event.kind} of ${target}: ${error instanceof Error ? error.message : String(error)}`,
        );
      }
    }
  }
}
