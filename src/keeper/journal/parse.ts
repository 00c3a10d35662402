/** Reads journal lines back, and says what is wrong with those that are none. Nothing here touches a file. */
import * as v from "valibot";
import { type Entry, type EntryBody, JOURNAL_SCHEMA_VERSION } from "./entry.ts";

const Hex = v.pipe(v.string(), v.regex(/^0x[0-9a-f]{1,16}$/));
const Bytes = v.pipe(v.string(), v.regex(/^(?:[0-9a-f]{2})*$/));
const Hash = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const Milliseconds = v.pipe(v.number(), v.finite(), v.minValue(0));
const Reference = v.object({ writer: v.string(), seq: Count });
const Ranges = v.array(v.object({ start: Hex, end: Hex }));
const Header = v.object({
  address: Hex,
  sha256: Hash,
  programHeaders: Count,
  cpuNotes: Count,
  described: Ranges,
});
const Cause = v.object({ why: v.string(), missing: Ranges, stale: Ranges });
const Writes = v.array(
  v.object({
    what: v.string(),
    address: Hex,
    bytes: Count,
    sha256Before: Hash,
    sha256After: Hash,
    runs: v.array(v.tuple([Count, Bytes, Bytes])),
  }),
);
const target = v.string();
const reason = v.string();

const Body: v.GenericSchema<unknown, EntryBody> = v.variant("entry", [
  v.object({ entry: v.literal("started"), pid: Count, aliveEveryMs: Milliseconds, closedTorn: Count }),
  v.object({ entry: v.literal("alive") }),
  v.object({ entry: v.literal("stopped") }),
  v.object({ entry: v.literal("lost"), count: Count, sinceUp: Milliseconds, reason }),
  v.object({ entry: v.literal("found"), target }),
  v.object({ entry: v.literal("unreachable"), target, reason }),
  v.object({ entry: v.literal("gone"), target, reason }),
  v.object({ entry: v.literal("resumed"), target, reason }),
  v.object({ entry: v.literal("failed"), target, reason }),
  v.object({
    entry: v.literal("verdict"),
    target,
    verdict: v.string(),
    reason,
    missing: Ranges,
    stale: Ranges,
    cpusMissing: v.array(v.string()),
    header: v.nullable(Header),
    sinceLookMs: v.optional(Milliseconds),
  }),
  v.object({
    entry: v.literal("intent"),
    target,
    cause: Cause,
    before: Header,
    after: v.nullable(Header),
    wasRunning: v.nullable(v.boolean()),
    guards: v.array(
      v.object({ what: v.picklist(["kexec_crash_image", "cpu-note"]), address: Hex, bytes: Bytes }),
    ),
    writes: v.nullable(Writes),
  }),
  v.object({
    entry: v.literal("planned"),
    target,
    intent: Reference,
    after: v.nullable(Header),
    writes: Writes,
  }),
  v.object({
    entry: v.literal("installed"),
    target,
    intent: v.nullable(Reference),
    cause: Cause,
    before: Header,
    after: v.nullable(Header),
    way: v.optional(v.picklist(["re-arm", "full-load"])),
    callMs: v.optional(Milliseconds),
    writes: v.array(v.object({ what: v.string(), address: Hex, bytes: Count })),
    pauseMicroseconds: v.nullable(Milliseconds),
    durationMs: v.nullable(Milliseconds),
    reactionMs: v.nullable(Milliseconds),
    sinceLookMs: v.optional(Milliseconds),
    left: v.object({ missing: Ranges, stale: Ranges, cpus: Count }),
  }),
  v.object({
    entry: v.literal("outcome"),
    target,
    intent: Reference,
    result: v.picklist([
      "undone",
      "left-open",
      "not-begun",
      "complete",
      "finished",
      "foreign",
      "replaced",
      "too-late",
    ]),
    reason,
    durationMs: v.nullable(Milliseconds),
  }),
]);

const Head = v.object({
  schemaVersion: Count,
  writer: v.string(),
  seq: Count,
  at: v.pipe(
    v.string(),
    v.check((text) => !Number.isNaN(Date.parse(text)), "no time"),
  ),
  up: Milliseconds,
  repeats: v.optional(Reference),
  entry: v.string(),
});

/** A line that is no entry, and why. */
export interface UnreadableLine {
  readonly unreadable: string;
}

/** Reads one line, without its newline. Never throws: a journal that a crash has torn is still a journal. */
export function parseEntry(line: string): Entry | UnreadableLine {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return { unreadable: "it is not JSON: cut off, or overwritten" };
  }
  const head = v.safeParse(Head, value);
  if (!head.success) return { unreadable: problem(head.issues[0]) };
  const { entry, ...rest } = head.output;
  if (rest.schemaVersion !== JOURNAL_SCHEMA_VERSION)
    return {
      unreadable: `schemaVersion is ${rest.schemaVersion}, expected ${JOURNAL_SCHEMA_VERSION}: another version of kdump-hotplug wrote it`,
    };
  const body = v.safeParse(Body, value);
  if (body.success) return { ...rest, ...body.output };
  return KNOWN.has(entry)
    ? { unreadable: problem(body.issues[0]) }
    : { ...rest, entry: "other", name: entry };
}

const KNOWN: ReadonlySet<string> = new Set([
  "started",
  "alive",
  "stopped",
  "lost",
  "found",
  "unreachable",
  "gone",
  "resumed",
  "failed",
  "verdict",
  "intent",
  "planned",
  "installed",
  "outcome",
]);

function problem(issue: v.BaseIssue<unknown>): string {
  const where = v.getDotPath(issue);
  return where === null ? issue.message : `${where}: ${issue.message}`;
}
