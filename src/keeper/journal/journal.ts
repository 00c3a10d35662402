/** The journal of one keeper process: what happened to its targets, and what it is about to write into them. */
import type { Sha256 } from "../../image/hash.ts";
import { guardsOf, recordWrites } from "../../image/write-ahead.ts";
import type { WritePlan } from "../../image/plan.ts";
import {
  headerAfter,
  headerOf,
  type InstallIntent,
  type InstallLog,
  type OpenInstall,
  type PlacedHeader,
} from "../install-log.ts";
import type { InstallReport } from "../install.ts";
import type { ServiceEvent, ServiceListener, TargetEvent } from "../service-event.ts";
import { installedBody, installedEventBody, verdictBody } from "./bodies.ts";
import {
  type EntryBody,
  type EntryHead,
  entryLine,
  type EntryRef,
  JOURNAL_SCHEMA_VERSION,
  type OutcomeResult,
} from "./entry.ts";
import { JournalFile, type JournalLag } from "./file.ts";
import type { Appended } from "./lines.ts";
import { lockJournal } from "./lock.ts";
import { OpenInstalls, type PendingInstall } from "./open-installs.ts";
import { JournalReadError, readJournal } from "./read.ts";
import { rounded, within } from "./time.ts";
import { causeText, guardText, headerText, writeText } from "./write.ts";

export interface JournalOptions {
  /** Made where it is missing and its parent is there. Only for those who may change guests: mode 0700. */
  readonly directory: string;
  readonly sha256: Sha256;
  /** Told of trouble with the journal, one line. */
  readonly say: (line: string) => void;
  /** Default 16 MiB. */
  readonly maxBytes?: number;
  /** Files that are kept. Default 8. */
  readonly files?: number;
  /** Milliseconds between two signs of life. Default 30,000. */
  readonly aliveEveryMs?: number;
  /** Default 2,000. */
  readonly maxWaiting?: number;
  /** Default 1,000. */
  readonly retryMs?: number;
  /** How long an install waits for the disk, ms. Default 250: a header that is late costs more than an entry. */
  readonly syncLimitMs?: number;
  /** Wall clock, ms since 1970. */
  readonly now?: () => number;
  /** Steady clock, ms. */
  readonly steady?: () => number;
}

/** How long a machine that stands still waits for an entry to reach the system's cache, which takes some 0.1 ms. */
const PAUSE_LIMIT_MS = 20;
/** Open installs are said again when a file begins, so the last two files have all of them. */
const FILES_READ = 2;

/** Entries that say what is known of a target from then on. */
type State = Extract<
  EntryBody,
  { readonly entry: "verdict" | "installed" | "found" | "unreachable" | "failed" }
>;

/** What the event of an install tells of times. */
type Timed = Pick<Extract<TargetEvent, { readonly kind: "installed" }>, "reactionMs" | "sinceLookMs">;

export class Journal implements ServiceListener, AsyncDisposable {
  readonly #options: JournalOptions;
  readonly #file: JournalFile;
  readonly #now: () => number;
  readonly #steady: () => number;
  readonly #startedAt: number;
  readonly #writer: string;
  readonly #open = new OpenInstalls();
  readonly #states = new Map<string, { readonly ref: EntryRef; readonly body: State }>();
  /** Installs whose reaction time the next event may tell. */
  readonly #told = new Map<string, (event: Timed | undefined) => void>();
  #alive: ReturnType<typeof setInterval> | undefined;
  #unlock: (() => Promise<void>) | undefined;
  #seq = 0;
  #lostSince: number | undefined;
  #late = 0;

  private constructor(options: JournalOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#steady = options.steady ?? ((): number => performance.now());
    this.#startedAt = this.#steady();
    this.#writer = `${process.pid}.${Math.floor(this.#now())}`;
    this.#file = new JournalFile({
      directory: options.directory,
      maxBytes: options.maxBytes ?? 16 * 1024 * 1024,
      files: options.files ?? 8,
      maxWaiting: options.maxWaiting ?? 2000,
      retryMs: options.retryMs ?? 1000,
      say: options.say,
      head: () => this.#repeats(),
      lost: (count, reason) => this.#lostLine(count, reason),
    });
  }

  /**
   * Opens the journal: reads which installs have no end, closes a torn line, and says that a writer begins.
   *
   * Trouble with the disk is said and tried again, it is no error.
   *
   * @throws {JournalBusyError} where another process writes this journal.
   */
  static async open(options: JournalOptions): Promise<Journal> {
    const journal = new Journal(options);
    journal.#unlock = await lockJournal(options.directory);
    const closedTorn = await journal.#file.prepare();
    await journal.#readOpenInstalls(closedTorn > 0 ? 1 : 0);
    const aliveEveryMs = options.aliveEveryMs ?? 30_000;
    journal.#append({ entry: "started", pid: process.pid, aliveEveryMs, closedTorn });
    journal.#alive = setInterval(() => journal.#append({ entry: "alive" }, false), aliveEveryMs);
    journal.#alive.unref();
    return journal;
  }

  /** Entries that wait or were lost; `late`: installs that did not wait for the disk any longer. */
  get lag(): JournalLag & { readonly late: number } {
    return { ...this.#file.lag, late: this.#late };
  }

  /** The install into `target` of which nobody knows how it ended: for {@link recoverTarget}. */
  pendingOf(target: string): PendingInstall | undefined {
    return this.#open.of(target);
  }

  /** Tells how an install ended that was found open. */
  settle(target: string, intent: EntryRef, result: OutcomeResult, reason: string): void {
    this.#append({ entry: "outcome", target, intent, result, reason, durationMs: null });
  }

  onEvent({ target, at, event }: ServiceEvent): void {
    // What comes after an install is put down after it.
    if (event.kind !== "installed") this.#told.get(target)?.(undefined);
    switch (event.kind) {
      case "verdict":
        this.#state(verdictBody(target, event, this.#options.sha256), at);
        break;
      case "installed": {
        const told = this.#told.get(target);
        if (told) {
          told(event);
          break;
        }
        const body = installedEventBody(target, event, this.#options.sha256);
        this.#state(body ?? { entry: "failed", target, reason: "what was installed is not known" }, at);
        break;
      }
      case "failed":
        this.#state({ entry: "failed", target, reason: event.error.message }, at);
        break;
      case "found":
        this.#state({ entry: "found", target }, at);
        break;
      case "unreachable":
        this.#state({ entry: "unreachable", target, reason: event.reason }, at);
        break;
      case "gone":
        this.#states.delete(target);
        this.#append({ entry: "gone", target, reason: event.reason }, true, at);
        break;
      case "resumed":
        this.#append({ entry: "resumed", target, reason: event.reason }, true, at);
        break;
    }
  }

  /** Where a {@link Keeper} of `target` tells of its installs. */
  installLog(target: string): InstallLog {
    return { intend: async (intent) => await this.#intend(target, intent) };
  }

  /** Ends with an entry that says so. */
  async close(): Promise<void> {
    clearInterval(this.#alive);
    for (const told of this.#told.values()) told(undefined);
    this.#append({ entry: "stopped" });
    await this.#file.close();
    await this.#unlock?.();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #intend(target: string, { image, cause, plan, wasRunning }: InstallIntent): Promise<OpenInstall> {
    const { sha256 } = this.#options;
    const begun = this.#steady();
    this.#told.get(target)?.(undefined);
    let after: PlacedHeader | undefined = plan && headerAfter(image, plan);
    const { ref, appended } = this.#append({
      entry: "intent",
      target,
      cause: causeText(cause),
      before: headerText(headerOf(image), sha256),
      after: after ? headerText(after, sha256) : null,
      wasRunning: wasRunning ?? null,
      guards: guardsOf(image).map(guardText),
      writes: plan ? recordWrites(plan.writes, sha256).map(writeText) : null,
    });
    if (!(await within(appended.synced, this.#options.syncLimitMs ?? 250))) this.#late++;
    const duration = (): number => rounded(this.#steady() - begun);
    const outcome = (result: OutcomeResult, error: unknown): void => {
      const reason = error instanceof Error ? error.message : String(error);
      this.#append({ entry: "outcome", target, intent: ref, result, reason, durationMs: duration() });
    };
    return {
      planned: async (planned: WritePlan) => {
        after = headerAfter(image, planned);
        const writes = recordWrites(planned.writes, sha256).map(writeText);
        const header = after ? headerText(after, sha256) : null;
        const body = { entry: "planned", target, intent: ref, after: header, writes } as const;
        // Not synced: should the host crash now, the guest and its crash memory are gone too.
        await within(this.#append(body).appended.written, PAUSE_LIMIT_MS);
      },
      installed: (installed: InstallReport) => {
        const durationMs = duration();
        const at = this.#now();
        const up = this.#up();
        const told = (event: Timed | undefined): void => {
          if (!this.#told.delete(target)) return;
          const { reactionMs = null, sinceLookMs } = event ?? {};
          const facts = { intent: ref, reactionMs, sinceLookMs, durationMs };
          this.#state(installedBody({ target, image, cause, after, installed }, sha256, facts), at, up);
        };
        this.#told.set(target, told);
        // A watch tells how long the change took before anything else happens; others tell nothing.
        setImmediate(() => told(undefined));
      },
      undone: (error) => outcome("undone", error),
      leftOpen: (error) => outcome("left-open", error),
    };
  }

  /** @param known lines that are no entries and were told of. */
  async #readOpenInstalls(known: number): Promise<void> {
    let unreadable = -known;
    try {
      for await (const line of readJournal(this.#options.directory, FILES_READ)) {
        if ("entry" in line) this.#open.take(line.entry);
        else unreadable++;
      }
    } catch (error) {
      // No journal yet, or none that can be read: then none can be written either, which is said.
      if (!(error instanceof JournalReadError)) throw error;
    }
    if (unreadable > 0)
      this.#options.say(
        `Journal in "${this.#options.directory}" has ${unreadable} lines that are no entries and were passed over; kdump-hotplug journal names them`,
      );
  }

  #state(body: State, at?: number, up?: number): void {
    const { ref } = this.#append(body, true, at, up);
    this.#states.set(body.target, { ref, body });
  }

  #append(
    body: EntryBody,
    durable = true,
    at?: number,
    up?: number,
  ): { readonly ref: EntryRef; readonly appended: Appended } {
    const head = this.#head(this.#seq++, at, up);
    // The first one that came while nothing could be written.
    this.#lostSince = this.#file.trouble === undefined ? undefined : (this.#lostSince ?? head.up);
    this.#open.take({ ...head, ...body });
    const appended = this.#file.append(entryLine(head, body), durable);
    return { ref: { writer: head.writer, seq: head.seq }, appended };
  }

  #head(seq: number, at: number = this.#now(), up: number = this.#up()): EntryHead {
    return {
      schemaVersion: JOURNAL_SCHEMA_VERSION,
      writer: this.#writer,
      seq,
      at: new Date(at).toISOString(),
      up,
    };
  }

  #up(): number {
    return rounded(Math.max(0, this.#steady() - this.#startedAt));
  }

  /** What is known by entries that may be in no file any more: states, and installs without an end. */
  #repeats(): readonly string[] {
    const repeat = (ref: EntryRef, body: EntryBody): string =>
      entryLine({ ...this.#head(ref.seq), repeats: ref }, body);
    return [
      ...Array.from(this.#states.values(), ({ ref, body }) => repeat(ref, body)),
      ...Array.from(this.#open.repeats(), ({ ref, body }) => repeat(ref, body)),
    ];
  }

  /** After lost entries: how many, and what is known all the same. */
  #lostLine(count: number, reason: string): string {
    const sinceUp = this.#lostSince ?? this.#up();
    this.#lostSince = undefined;
    const head = this.#head(this.#seq);
    // It has no number of its own: it stands for those that are missing.
    const line = entryLine(
      { ...head, repeats: { writer: head.writer, seq: head.seq } },
      { entry: "lost", count, sinceUp, reason },
    );
    return [line, ...this.#repeats()].join("");
  }
}
