/**
 * Was the header of a target accurate at time T?
 *
 * The entries of one writer are a sequence in steady time; what the clock said stands beside each. Between two entries
 * that follow each other the clock said every time from the one to the other, unless it was set: then it went on from
 * the first for some part of that span, and arrived at the second from where it was set to. So T has its place
 * between no two entries (nobody was watching), between two (as a rule), or, where the clock was set back, between
 * several: then it is answered only where all of them agree.
 *
 * An entry may also say something of the time before it: an install says since when the header had been wrong, as far
 * as something told of the change; a bad verdict says that since the look before it nothing is known.
 */
import type { Entry, RangeText } from "./entry.ts";

export type Answer = "accurate" | "inaccurate" | "unknown";

/** The answer for one target. */
export interface AccuracyAt {
  readonly answer: Answer;
  /** One sentence without a full stop. */
  readonly reason: string;
  /** How often the clock showed that time; more than once where it was set back. */
  readonly moments: number;
}

/** What is known from an entry on. */
interface State {
  readonly answer: Answer;
  readonly reason: string;
}

/** A place of T in the steady time of one writer. */
interface Moment extends State {
  readonly writer: string;
  readonly up: number;
}

/** What an entry says of the time before it. */
interface Correction extends State {
  readonly writer: string;
  readonly from: number;
  readonly to: number;
}

/** A clock that is slewed, and milliseconds that are rounded, are no jump. */
const JUMP_MS = 1000;
/** A writer that gives no sign of life for this many of its intervals was not watching. */
const SILENT_INTERVALS = 3;
const DEFAULT_ALIVE_MS = 30_000;
/**
 * A guest that changes its image tells nobody. Entries say how long before them a look had found it otherwise; where
 * one does not, this is how often a single guest is looked at and hashed (watch.ts).
 */
const LOOK_MS = 2_000;
const HASH_MS = 61_000;

/** Asks for one target at one time. Feed it all entries in their order, then ask. */
export class AccuracyQuestion {
  readonly #target: string;
  /** ms since 1970. */
  readonly #time: number;
  readonly #moments: Moment[] = [];
  readonly #corrections: Correction[] = [];
  #state: State;
  /** When that was told, ms of the writer's steady time. */
  #since = 0;
  #last: Entry | undefined;
  /** The last number of this writer that was seen. */
  #seq: number | undefined;
  #aliveEveryMs = DEFAULT_ALIVE_MS;
  #seen = false;
  #first: Entry | undefined;
  #lastBefore: Entry | undefined;
  #firstAfter: Entry | undefined;

  constructor(target: string, time: number) {
    this.#target = target;
    this.#time = time;
    this.#state = { answer: "unknown", reason: "" };
    this.#forget();
  }

  take(entry: Entry): void {
    this.#first ??= entry;
    const at = Date.parse(entry.at);
    if (at <= this.#time) this.#lastBefore = entry;
    else this.#firstAfter ??= entry;
    const last = this.#last;
    if (last?.writer === entry.writer) {
      this.#span(last, entry);
    } else {
      if (last) this.#instant(last);
      this.#seq = undefined;
      this.#aliveEveryMs = DEFAULT_ALIVE_MS;
      this.#forget();
    }
    if (entry.entry === "started") this.#aliveEveryMs = Math.max(1000, entry.aliveEveryMs);
    this.#count(entry);
    // Its last millisecond is still the keeper's: the entry before may be of the same one.
    if (entry.entry === "stopped" && at === this.#time) this.#moment(entry, entry.up, 0);
    this.#learn(entry);
    this.#last = entry;
  }

  /** To be asked once, after the last entry. */
  ask(): AccuracyAt {
    if (!this.#seen)
      return { answer: "unknown", reason: "the journal has no entry of this target", moments: 0 };
    if (this.#last) this.#instant(this.#last);
    const moments = this.#moments.map((moment) => this.#corrected(moment));
    const [first, ...others] = moments;
    if (!first) return { answer: "unknown", reason: this.#whyNobody(), moments: 0 };
    if (others.every(({ answer }) => answer === first.answer))
      return { answer: first.answer, reason: first.reason, moments: moments.length };
    const each = moments.map(({ answer, reason }) => `${answer} (${reason})`).join("; then ");
    return {
      answer: "unknown",
      reason: `the clock showed that time ${moments.length} times, because it was set back: ${each}`,
      moments: moments.length,
    };
  }

  /** Finds T between two entries of one writer. */
  #span(from: Entry, to: Entry): void {
    const start = Date.parse(from.at);
    const end = Date.parse(to.at);
    const passed = Math.max(0, to.up - from.up);
    const time = this.#time;
    if (Math.abs(end - start - passed) <= JUMP_MS) {
      if (start <= time && time < end) this.#moment(from, from.up + Math.min(time - start, passed), passed);
      return;
    }
    if (start <= time && time < start + passed) this.#moment(from, from.up + (time - start), passed);
    if (end - passed <= time && time < end) this.#moment(from, to.up - (end - time), passed);
  }

  /** A writer's last entry: nothing is known of what comes after it. */
  #instant(last: Entry): void {
    if (last.entry !== "stopped" && Date.parse(last.at) === this.#time) this.#moment(last, last.up, 0);
  }

  #moment({ writer }: Entry, up: number, passed: number): void {
    const silent = passed > SILENT_INTERVALS * this.#aliveEveryMs;
    const state: State = silent
      ? {
          answer: "unknown",
          reason: `the keeper gave no sign of life for ${Math.round(passed / 1000)} s at that time`,
        }
      : this.#state;
    this.#moments.push({ ...state, writer, up });
  }

  /** A number that is missing is an entry that is missing: it may have been about this target. */
  #count(entry: Entry): void {
    if (entry.repeats) return;
    if (this.#seq !== undefined && entry.seq !== this.#seq + 1) {
      const missing = entry.seq - this.#seq - 1;
      this.#lose(`${missing} entries are missing there`, this.#last?.up ?? 0, entry);
    }
    this.#seq = entry.seq;
  }

  #lose(reason: string, from: number, entry: Entry): void {
    this.#state = { answer: "unknown", reason };
    this.#corrections.push({ ...this.#state, writer: entry.writer, from, to: entry.up });
  }

  #learn(entry: Entry): void {
    if (entry.entry === "lost")
      this.#lose(`${entry.count} entries were lost (${entry.reason})`, entry.sinceUp, entry);
    if (entry.entry === "stopped") this.#state = { answer: "unknown", reason: "the keeper had ended" };
    if (!("target" in entry) || entry.target !== this.#target) return;
    this.#seen = true;
    switch (entry.entry) {
      case "verdict":
        this.#verdict(entry);
        break;
      case "installed":
        this.#installed(entry);
        break;
      case "found":
        this.#state = { answer: "unknown", reason: "it had been found, and not been looked at yet" };
        break;
      case "unreachable":
      case "gone":
        this.#state = { answer: "unknown", reason: `nobody watched it: ${entry.reason}` };
        break;
      case "outcome":
        // It is tried again at once, or the failure is told.
        if (entry.result === "undone") return;
        // What was found finished or not begun is judged by the verdict that comes next.
        this.#state = {
          answer: "unknown",
          reason: `an install ended as ${entry.result}, and no verdict came after that: ${entry.reason}`,
        };
        break;
      case "failed":
        this.#state = {
          answer: "unknown",
          reason: `the keeper had failed, and no verdict came after that: ${entry.reason}`,
        };
        break;
      default:
        return;
    }
    this.#since = entry.up;
  }

  #verdict(entry: Extract<Entry, { readonly entry: "verdict" }>): void {
    const { verdict, reason, sinceLookMs } = entry;
    const before = this.#state;
    const answers: Readonly<Record<string, Answer>> = {
      accurate: "accurate",
      inaccurate: "inaccurate",
      "not-loaded": "inaccurate",
      broken: "inaccurate",
    };
    this.#state = { answer: answers[verdict] ?? "unknown", reason: `${verdict}: ${reason}` };
    if (entry.repeats || before.answer !== "accurate" || this.#state.answer === "accurate") return;
    const reach = sinceLookMs ?? (verdict === "broken" ? HASH_MS : LOOK_MS);
    this.#correct(entry, Math.max(this.#since, entry.up - reach), {
      answer: "unknown",
      reason: `it was found ${verdict} at ${entry.at}; since when is not known`,
    });
  }

  #installed(entry: Extract<Entry, { readonly entry: "installed" }>): void {
    const { left, cause, reactionMs, durationMs, sinceLookMs } = entry;
    const lacks = [
      left.missing.length > 0 ? `lacked ${rangesText(left.missing)}` : "",
      left.stale.length > 0 ? `claimed ${rangesText(left.stale)}, which was gone` : "",
      left.cpus > 0 ? `lacked the registers of ${left.cpus} CPUs` : "",
    ].filter((text) => text !== "");
    this.#state =
      lacks.length === 0
        ? { answer: "accurate", reason: `installed and read back at ${entry.at}` }
        : { answer: "inaccurate", reason: `what was installed at ${entry.at} ${lacks.join(" and ")}` };
    const wrong = cause.missing.length + cause.stale.length > 0;
    if (entry.repeats || !wrong) return;
    const reason = [
      cause.missing.length > 0 ? `the header lacked ${rangesText(cause.missing)}` : "",
      cause.stale.length > 0 ? `the header claimed ${rangesText(cause.stale)}, which was gone` : "",
    ].filter((text) => text !== "");
    const until = `${reason.join(" and ")}, until the install at ${entry.at}`;
    // Times are told in milliseconds: what began within one was there in all of it.
    const known = entry.up - Math.max(reactionMs ?? 0, durationMs ?? 0) - 1;
    if (reactionMs === null)
      this.#correct(entry, Math.max(this.#since, known - (sinceLookMs ?? LOOK_MS)), {
        answer: "unknown",
        reason: `${until}; since when is not known`,
      });
    this.#correct(entry, known, { answer: "inaccurate", reason: until });
  }

  #correct({ writer, up }: Entry, from: number, state: State): void {
    this.#corrections.push({ ...state, writer, from: Math.max(0, from), to: up });
  }

  /** The last correction is the one that knows most: where it holds it stands for what was believed at that time. */
  #corrected(moment: Moment): Moment {
    const found = this.#corrections.findLast(
      ({ writer, from, to }) => writer === moment.writer && from <= moment.up && moment.up < to,
    );
    // What was lost may have been anything, but an install that is there is there.
    return found ? { ...moment, answer: found.answer, reason: found.reason } : moment;
  }

  #forget(): void {
    this.#state = {
      answer: "unknown",
      reason: "a keeper was there, but had said nothing of this target yet",
    };
    this.#since = 0;
  }

  #whyNobody(): string {
    if (!this.#first) return "the journal has no entries";
    if (!this.#lastBefore) return `the journal begins at ${this.#first.at}`;
    if (!this.#firstAfter)
      return `the journal's last entry is of ${this.#last!.at}: a keeper that runs gives a sign of life every ${Math.round(this.#aliveEveryMs / 1000)} s, so ask again then, or it has ended`;
    return `no keeper was watching then: nothing between ${this.#lastBefore.at} and ${this.#firstAfter.at}`;
  }
}

/** `0x100000000-0x140000000, …`. */
export function rangesText(ranges: readonly RangeText[]): string {
  return ranges.map(({ start, end }) => `${start}-${end}`).join(", ");
}
