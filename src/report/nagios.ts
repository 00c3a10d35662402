/**
 * One line for a monitoring system, by the guidelines for Nagios plugins: `STATE - TEXT|PERFDATA`, and an exit code that
 * says the same.
 */
import * as v from "valibot";
import { printable } from "./text.ts";

/** What is told, and the plugin's exit code. */
export interface NagiosResult {
  readonly line: string;
  readonly code: number;
}

type State = "OK" | "WARNING" | "CRITICAL" | "UNKNOWN";

const CODES: Readonly<Record<State, number>> = { OK: 0, WARNING: 1, CRITICAL: 2, UNKNOWN: 3 };
/** The worst first: what is known to be bad comes before what is not known. */
const WORST_FIRST: readonly State[] = ["CRITICAL", "WARNING", "UNKNOWN", "OK"];

/** A panic now gives no dump: critical. It gives one that is not whole: a warning. */
const STATES = {
  accurate: "OK",
  inaccurate: "WARNING",
  "not-loaded": "CRITICAL",
  broken: "CRITICAL",
  unknown: "UNKNOWN",
} as const satisfies Readonly<Record<string, State>>;

const bytes = v.pipe(
  v.union([v.number(), v.string()]),
  v.transform((value): bigint => BigInt(value)),
);
const ranges = v.array(v.object({ bytes }));
const schema = v.object({
  target: v.string(),
  verdict: v.picklist(["accurate", "inaccurate", "not-loaded", "broken", "unknown"]),
  reason: v.string(),
  memory: v.optional(v.object({ missing: ranges, stale: ranges })),
  cpus: v.optional(v.object({ missing: v.array(v.unknown()) })),
  warnings: v.optional(v.array(v.string()), []),
});
type Document = v.InferOutput<typeof schema>;

/** Lines are shown in tables and text messages. */
const MAX_NAMED = 5;

/** @param documents what `audit --json` printed, of one target or of several. @throws where they are none. */
export function nagiosOf(documents: readonly unknown[], many: boolean): NagiosResult {
  const audits = documents.map((document) => v.parse(schema, document));
  const states = audits.map(stateOf);
  const state = WORST_FIRST.find((each) => states.includes(each)) ?? "UNKNOWN";
  const bad = audits.filter((_, i) => states[i] !== "OK");
  const accurate = audits.length - bad.length;
  const named = (many ? bad : audits).slice(0, MAX_NAMED).map(sentence);
  if (bad.length > MAX_NAMED) named.push(`and ${bad.length - MAX_NAMED} more`);
  const head = many ? [`${accurate} of ${audits.length} targets accurate`] : [];
  const perfdata = [
    ...(many ? [`targets=${audits.length};;;0`, `accurate=${accurate};;;0;${audits.length}`] : []),
    `missing=${total(audits, (audit) => audit.memory?.missing)}B;0;;0`,
    `stale=${total(audits, (audit) => audit.memory?.stale)}B;0;;0`,
    `cpus_missing=${audits.reduce((sum, { cpus }) => sum + (cpus?.missing.length ?? 0), 0)};0;;0`,
  ];
  return result(state, [...head, ...named].join("; "), perfdata.join(" "));
}

/** Where nothing could be asked. */
export function nagiosUnknown(reason: string): NagiosResult {
  return result("UNKNOWN", reason, "");
}

function result(state: State, text: string, perfdata: string): NagiosResult {
  // A bar begins the perfdata, a line end the long text.
  const plain = printable(text.trim().replaceAll(/\s*\n\s*/g, "; ")).replaceAll("|", "/");
  return { line: `${state} - ${plain}${perfdata === "" ? "" : `|${perfdata}`}\n`, code: CODES[state] };
}

function stateOf({ verdict, warnings }: Document): State {
  // What would spoil the dump all the same.
  return verdict === "accurate" && warnings.length > 0 ? "WARNING" : STATES[verdict];
}

function sentence({ target, verdict, reason, warnings }: Document): string {
  return [`${target} ${verdict}: ${reason}`, ...warnings].join("; ");
}

function total(
  audits: readonly Document[],
  of: (audit: Document) => readonly { readonly bytes: bigint }[] | undefined,
): bigint {
  return audits.flatMap((audit) => of(audit) ?? []).reduce((sum, range) => sum + range.bytes, 0n);
}
