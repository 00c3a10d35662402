/** docs/reference/journal.md: the fields of the journal's entries, from examples that the compiler holds to their types. */
import type {
  EntryBody,
  EntryHead,
  GuardText,
  HeaderText,
  RangeText,
  WriteText,
} from "../../../src/keeper/journal/entry.ts";
import { entryLine } from "../../../src/keeper/journal/entry.ts";
import { parseEntry } from "../../../src/keeper/journal/parse.ts";
import { type Field, fieldsOf } from "./json-shape.ts";

const target = "qmp:/run/guests/a.sock";
const RANGE: RangeText = { start: "0x100000000", end: "0x108000000" };
const HEADER: HeaderText = {
  address: "0x2e000000",
  sha256: "ab".repeat(32),
  programHeaders: 7,
  cpuNotes: 2,
  described: [RANGE],
};
const CAUSE = { why: "reconcile", missing: [RANGE], stale: [RANGE] };
const WRITE: WriteText = {
  what: "header",
  address: "0x2e000000",
  bytes: 504,
  sha256Before: "ab".repeat(32),
  sha256After: "cd".repeat(32),
  runs: [[56, "00", "08"]],
};
const GUARD: GuardText = { what: "kexec_crash_image", address: "0x1234000", bytes: "00" };
const intent = { writer: "0123456789abcdef", seq: 3 };
const HEAD: EntryHead = {
  schemaVersion: 1,
  writer: "0123456789abcdef",
  seq: 4,
  at: "2026-11-29T05:10:00.000Z",
  up: 1234.5,
  repeats: intent,
};

/** One of each kind: the compiler wants all of them, each with all of its fields and no others. */
const ENTRIES: { readonly [K in EntryBody["entry"]]: Required<Extract<EntryBody, { readonly entry: K }>> } = {
  started: { entry: "started", pid: 1, aliveEveryMs: 30_000, closedTorn: 0 },
  alive: { entry: "alive" },
  stopped: { entry: "stopped" },
  lost: { entry: "lost", count: 1, sinceUp: 1, reason: "ENOSPC" },
  found: { entry: "found", target },
  unreachable: { entry: "unreachable", target, reason: "x" },
  gone: { entry: "gone", target, reason: "x" },
  resumed: { entry: "resumed", target, reason: "x" },
  failed: { entry: "failed", target, reason: "x" },
  verdict: {
    entry: "verdict",
    target,
    verdict: "accurate",
    reason: "x",
    missing: [RANGE],
    stale: [RANGE],
    cpusMissing: ["cpu3"],
    header: HEADER,
    sinceLookMs: 1000,
  },
  intent: {
    entry: "intent",
    target,
    cause: CAUSE,
    before: HEADER,
    after: HEADER,
    wasRunning: true,
    guards: [GUARD],
    writes: [WRITE],
  },
  planned: { entry: "planned", target, intent, after: HEADER, writes: [WRITE] },
  installed: {
    entry: "installed",
    target,
    intent,
    cause: CAUSE,
    before: HEADER,
    after: HEADER,
    way: "re-arm",
    callMs: 3,
    writes: [{ what: "header", address: "0x2e000000", bytes: 504 }],
    pauseMicroseconds: 800,
    durationMs: 3,
    reactionMs: 12,
    sinceLookMs: 1000,
    left: { missing: [RANGE], stale: [RANGE], cpus: 0 },
  },
  outcome: { entry: "outcome", target, intent, result: "finished", reason: "x", durationMs: 3 },
};

/** When each is written; the compiler wants all of them here too. */
const WHEN: Readonly<Record<EntryBody["entry"], string>> = {
  started: "A writer begins.",
  alive: "Every 30 s: nothing happened, and somebody is there who would have seen it.",
  stopped: "The writer ends as it should.",
  lost: "Entries could not be written; afterwards.",
  found: "A target can be watched from now on.",
  unreachable: "A target cannot be watched; it is tried again.",
  gone: "A target has ended.",
  resumed: "A guest stood still by a pause that nobody had ended, and runs again.",
  failed: "The header could not be looked at or corrected.",
  verdict: "The verdict differs from the one before.",
  intent: "On disk before a guest is paused: what is about to be written, with the bytes before and after.",
  planned: "In the pause of a `plug`: the writes of an intent that had none.",
  installed: "An install was read back.",
  outcome: "An install did not simply succeed, or one that was found open has been dealt with.",
};

const WORDS: ReadonlyMap<string, string> = new Map([
  ["closedTorn", "bytes of an unfinished line that it found and closed"],
  ["aliveEveryMs", "how often `alive` is written"],
  ["count", "how many"],
  ["sinceUp", "`up` of the first of them"],
  ["cause.why", "`reconcile`, `plug` or `make-room`"],
  ["cause.missing", "memory that the header lacked"],
  ["cause.stale", "memory that it claimed and that was gone"],
  ["before", "the header before"],
  ["after", "the header afterwards; null where that is not known yet, or another image took its place"],
  ["before.sha256", "of the header's bytes"],
  ["before.described", "the memory that it describes"],
  ["header", "what lies in crash memory; null where nothing does"],
  ["wasRunning", "whether the guest ran before the pause; null: not known"],
  ["guards", "bytes that show that the image is still the same one"],
  ["guards[].what", "`kexec_crash_image` or `cpu-note`"],
  ["guards[].bytes", "in hex"],
  ["writes", "what is written; null where that depends on what happens in the pause"],
  ["writes[].what", "`header`, `digest`, `region-table`, `memory-map` or `command-line`"],
  ["writes[].bytes", "how many"],
  ["writes[].runs", "bytes that change: offset, old ones and new ones in hex"],
  ["intent", "the entry that announced it"],
  ["durationMs", "from the intent to the end"],
  ["reactionMs", "from the change until the header was there; null where nothing told of a change"],
  [
    "sinceLookMs",
    "how long before it a look had not found that yet (a hash, where it is broken); not there where nobody had looked",
  ],
  ["way", "of `local` only: `re-arm` or `full-load`; it has no `writes` then"],
  [
    "callMs",
    "of `local` only: for how long the system call took, in which a panic may have found nothing loaded",
  ],
  ["pauseMicroseconds", "for how long the guest stood still, by QEMU's clock"],
  ["left", "what is still not as it should be"],
  ["left.cpus", "CPUs without a note"],
  ["cpusMissing", "CPUs without a note"],
  [
    "result",
    "`undone` or `left-open`; of one found open `not-begun`, `complete`, `finished`, `foreign`, `replaced` or `too-late`",
  ],
]);

const HEAD_WORDS: ReadonlyMap<string, string> = new Map([
  ["schemaVersion", "1; it changes when a field changes its meaning or goes"],
  ["writer", "who wrote it: another one with each start"],
  ["seq", "a sequence without holes for each writer"],
  ["at", "what the clock said, ISO 8601"],
  ["up", "ms of a steady clock since the writer began"],
  ["repeats", "there where it was said before: a file begins, or entries were lost. The entry that is meant"],
  ["entry", "its kind, one of the following"],
]);

/** The page, as Markdown. @throws where an example is no entry to the program's own reader. */
export function journalPage(): string {
  const sections = Object.entries(ENTRIES).map(([kind, body]) => {
    const parsed = parseEntry(entryLine(HEAD, body).trimEnd());
    if ("unreadable" in parsed) throw new Error(`${kind}: ${parsed.unreadable}`);
    const { entry: _, ...fields } = body;
    const found = fieldsOf([fields], SHAPE);
    return `## ${kind}\n\n${whenOf(kind)}\n${found.length === 0 ? "" : `\n${table(found, WORDS)}`}`;
  });
  return `# Entries of the journal

One JSON object a line, in \`journal.jsonl\` and as \`journal --json\` prints it. How it is used, and what is answered from it, is in [the journal's own page](../journal.md).
This page is made by \`npm run docs:reference\` from examples that the compiler holds to the types of entries, and that the journal's reader reads; a test fails where it is out of date. Entries of a kind that a reader does not know are to be passed over.

## Every entry

${table(fieldsOf([{ ...HEAD, entry: "found" }], SHAPE), HEAD_WORDS)}
${sections.join("\n")}`;
}

const SHAPE = { maps: [], documents: new Map<string, string>() };

function whenOf(kind: string): string {
  return Object.entries(WHEN).find(([name]) => name === kind)![1];
}

function table(fields: readonly Field[], words: ReadonlyMap<string, string>): string {
  const rows = fields.map(
    ({ path, types }) =>
      `| \`${path}\` | ${types.join(" or ")} | ${words.get(path) ?? words.get(path.replace(/^after\./, "before.")) ?? ""} |\n`,
  );
  return `| field | type | what |\n| --- | --- | --- |\n${rows.join("")}`;
}
