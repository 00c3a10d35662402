/** One line of the journal: its shape as JSON. */
/** Version of every entry; it changes when a field changes its meaning or goes. */
export const JOURNAL_SCHEMA_VERSION = 1;

/** An entry by who wrote it: a sequence number is unique for one writer. */
export interface EntryRef {
  readonly writer: string;
  readonly seq: number;
}

/** A range of physical addresses, `0x…`; `end` is exclusive. */
export interface RangeText {
  readonly start: string;
  readonly end: string;
}

/** A core header, short: where it lies, the SHA-256 of its bytes, and the memory that it describes. */
export interface HeaderText {
  readonly address: string;
  readonly sha256: string;
  readonly programHeaders: number;
  readonly cpuNotes: number;
  readonly described: readonly RangeText[];
}

/** Why something was installed. */
export interface CauseText {
  readonly why: string;
  readonly missing: readonly RangeText[];
  readonly stale: readonly RangeText[];
}

/** A planned write (image/write-ahead.ts); bytes in hex. */
export interface WriteText {
  readonly what: string;
  readonly address: string;
  readonly bytes: number;
  readonly sha256Before: string;
  readonly sha256After: string;
  /** Bytes that change: offset, old ones, new ones. */
  readonly runs: readonly (readonly [number, string, string])[];
}

/** Bytes that show that the image is still the same one. */
export interface GuardText {
  readonly what: "kexec_crash_image" | "cpu-note";
  readonly address: string;
  readonly bytes: string;
}

/** How an install ended that did not simply succeed, and what the next start made of one that never ended. */
export type OutcomeResult =
  /** Refused or failed, and nothing of it is in the image. */
  | "undone"
  /** The machine was lost, or a write could not be undone: not known what is in the image. Stays open. */
  | "left-open"
  /** Found open: nothing had been written; all had been written; the rest was written now. */
  | "not-begun"
  | "complete"
  | "finished"
  /** Found open, and left alone: other bytes than the old and the new ones; another image; a panic has begun. */
  | "foreign"
  | "replaced"
  | "too-late";

/** What an entry says beside its head. */
export type EntryBody =
  /** A writer begins. `closedTorn`: bytes of an unfinished line that it found and closed. */
  | {
      readonly entry: "started";
      readonly pid: number;
      readonly aliveEveryMs: number;
      readonly closedTorn: number;
    }
  /** Nothing happened, and somebody is there who would have seen it. */
  | { readonly entry: "alive" }
  | { readonly entry: "stopped" }
  /** Entries that could not be written. */
  | { readonly entry: "lost"; readonly count: number; readonly sinceUp: number; readonly reason: string }
  | { readonly entry: "found"; readonly target: string }
  | { readonly entry: "unreachable"; readonly target: string; readonly reason: string }
  | { readonly entry: "gone"; readonly target: string; readonly reason: string }
  | { readonly entry: "resumed"; readonly target: string; readonly reason: string }
  | { readonly entry: "failed"; readonly target: string; readonly reason: string }
  | {
      readonly entry: "verdict";
      readonly target: string;
      readonly verdict: string;
      readonly reason: string;
      readonly missing: readonly RangeText[];
      readonly stale: readonly RangeText[];
      readonly cpusMissing: readonly string[];
      readonly header: HeaderText | null;
      /** How long before it a look had not found that yet, ms; a hash, where it is broken. */
      readonly sinceLookMs?: number | undefined;
    }
  /** On disk before the machine is paused. `writes` is null where they depend on what happens in the pause. */
  | {
      readonly entry: "intent";
      readonly target: string;
      readonly cause: CauseText;
      readonly before: HeaderText;
      readonly after: HeaderText | null;
      readonly wasRunning: boolean | null;
      readonly guards: readonly GuardText[];
      readonly writes: readonly WriteText[] | null;
    }
  /** The writes of an intent that had none. Written, not synced, in the pause. */
  | {
      readonly entry: "planned";
      readonly target: string;
      readonly intent: EntryRef;
      readonly after: HeaderText | null;
      readonly writes: readonly WriteText[];
    }
  | {
      readonly entry: "installed";
      readonly target: string;
      /** Null where no intent was written: the install was not told of before. */
      readonly intent: EntryRef | null;
      readonly cause: CauseText;
      readonly before: HeaderText;
      readonly after: HeaderText | null;
      /** From inside: by what, and how long the system call took, ms, in which nothing was loaded at times. */
      readonly way?: "re-arm" | "full-load" | undefined;
      readonly callMs?: number | undefined;
      /** Empty from inside: there nothing is written in place. */
      readonly writes: readonly {
        readonly what: string;
        readonly address: string;
        readonly bytes: number;
      }[];
      readonly pauseMicroseconds: number | null;
      /** From the intent to the end, ms. */
      readonly durationMs: number | null;
      /** From the change until the header was there, ms; null where nothing told of a change. */
      readonly reactionMs: number | null;
      /** As of a verdict. */
      readonly sinceLookMs?: number | undefined;
      /** What is still not as it should be. */
      readonly left: {
        readonly missing: readonly RangeText[];
        readonly stale: readonly RangeText[];
        readonly cpus: number;
      };
    }
  | {
      readonly entry: "outcome";
      readonly target: string;
      readonly intent: EntryRef;
      readonly result: OutcomeResult;
      readonly reason: string;
      readonly durationMs: number | null;
    };

/** What every entry has. */
export interface EntryHead extends EntryRef {
  readonly schemaVersion: number;
  /** What the clock said, ISO 8601. */
  readonly at: string;
  /** Milliseconds of a steady clock since the writer began: time goes on where the clock is set back. */
  readonly up: number;
  /** Said before, and said again because a file begins or entries were lost. The original, where there was one. */
  readonly repeats?: EntryRef | undefined;
}

/** One entry; `other` is one of a kind that this version does not know. */
export type Entry = EntryHead & (EntryBody | { readonly entry: "other"; readonly name: string });

/** One line, with its newline. */
export function entryLine(head: EntryHead, body: EntryBody): string {
  return `${JSON.stringify({ ...head, ...body })}\n`;
}
