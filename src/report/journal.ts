/** The journal, for people; and the answer to "was the header accurate then?" for both. */
import type { AccuracyAt } from "../keeper/journal/question.ts";
import { rangesText } from "../keeper/journal/question.ts";
import type { CauseText, Entry, RangeText } from "../keeper/journal/entry.ts";
import { SCHEMA_VERSION } from "./json.ts";
import { subjectJson, subjectText } from "./subject.ts";
import { milliseconds, printable } from "./text.ts";

/** One entry in one line; undefined for those that are for the next start only (intents, signs of life, repeats). */
export function journalEntryText(entry: Entry): string | undefined {
  if (entry.repeats && entry.entry !== "lost") return undefined;
  const what = entryText(entry);
  if (what === undefined) return undefined;
  const subject = "target" in entry ? subjectText(entry.target) : "journal";
  return `${entry.at} ${subject}: ${what}\n`;
}

function entryText(entry: Entry): string | undefined {
  switch (entry.entry) {
    case "started":
      return `process ${entry.pid} began to write${entry.closedTorn > 0 ? `; ${entry.closedTorn} bytes of an unfinished entry were left before` : ""}`;
    case "stopped":
      return "the keeper ended";
    case "lost":
      return `${entry.count} entries were lost (${printable(entry.reason)})`;
    case "found":
      return "found";
    case "unreachable":
      return `unreachable: ${printable(entry.reason)}`;
    case "gone":
      return `gone: ${printable(entry.reason)}`;
    case "resumed":
      return `resumed: ${printable(entry.reason)}`;
    case "failed":
      return `failed: ${printable(entry.reason)}`;
    case "verdict":
      return `${printable(entry.verdict)} (${printable(entry.reason)})${entry.header ? `; header ${entry.header.sha256.slice(0, 12)} at ${entry.header.address}` : ""}`;
    case "installed":
      return installedText(entry);
    case "outcome":
      return `install ${entry.intent.seq} of ${printable(entry.intent.writer)}: ${entry.result}: ${printable(entry.reason)}`;
    case "other":
      return `an entry of a kind that this version does not know (${printable(entry.name)})`;
    case "alive":
    case "intent":
    case "planned":
      return undefined;
  }
}

const WAYS = { "re-arm": "re-armed", "full-load": "loaded in full" };

function installedText(entry: Extract<Entry, { readonly entry: "installed" }>): string {
  const { cause, before, after, writes, left } = entry;
  const bytes = writes.reduce((sum, write) => sum + write.bytes, 0);
  const parts = [
    ...causeParts(cause),
    `header ${before.sha256.slice(0, 12)} at ${before.address} became ${after ? `${after.sha256.slice(0, 12)} at ${after.address}` : "another one"}`,
    ...(entry.way === undefined
      ? [
          `${bytes} bytes written`,
          entry.pauseMicroseconds === null
            ? "no pause was measured"
            : `the guest stood still for ${milliseconds(entry.pauseMicroseconds)}`,
        ]
      : [`${WAYS[entry.way]} by a call of ${(entry.callMs ?? 0).toFixed(1)} ms`]),
    entry.reactionMs === null ? "" : `${entry.reactionMs.toFixed(1)} ms after the change was seen`,
    leftText(left),
  ];
  return `installed: ${parts.filter((part) => part !== "").join("; ")}`;
}

function causeParts({ why, missing, stale }: CauseText): readonly string[] {
  const reasons = [...changed("was missing", missing), ...changed("was gone", stale)];
  if (reasons.length > 0) return reasons;
  const other: Readonly<Record<string, string>> = {
    plug: "a device was plugged",
    "make-room": "room for what is to be plugged",
    reconcile: "CPUs had no note",
  };
  return [other[why] ?? printable(why)];
}

function changed(what: string, ranges: readonly RangeText[]): readonly string[] {
  return ranges.length === 0 ? [] : [`${rangesText(ranges)} ${what}`];
}

function leftText({ missing, stale, cpus }: Extract<Entry, { readonly entry: "installed" }>["left"]): string {
  const lacks = [
    missing.length > 0 ? `still lacks ${rangesText(missing)}` : "",
    stale.length > 0 ? `still claims ${rangesText(stale)}` : "",
    cpus > 0 ? `still lacks the registers of ${cpus} CPUs` : "",
  ];
  return lacks.filter((part) => part !== "").join(" and ");
}

/** `journal --at`, for people. */
export function accuracyText(target: string, at: string, { answer, reason }: AccuracyAt): string {
  return `${subjectText(target)} at ${at}: ${answer} (${printable(reason)})\n`;
}

/** `journal --at --json`: one document. */
export function accuracyJson(
  at: string,
  answers: readonly (readonly [string, AccuracyAt])[],
  unreadable: number,
): Readonly<Record<string, unknown>> {
  return {
    schemaVersion: SCHEMA_VERSION,
    at,
    unreadableLines: unreadable,
    targets: answers.map(([target, { answer, reason, moments }]) => ({
      ...subjectJson(target),
      answer,
      reason,
      moments,
    })),
  };
}
