/** A campaign's results as JSON Lines: one line that says what it is, then one for each trial. */
import { readFile } from "node:fs/promises";
import * as v from "valibot";
import type { LoadCall } from "../guest-actions.ts";
import type { Cause, CpuEvidence, LastState, Outcome } from "./outcome.ts";
import type { Moment } from "./plan.ts";
import { KEEPING_WAYS, type KeepingName } from "./ways.ts";

/** Version of the lines; it changes when a field changes its meaning or goes. */
export const RESULTS_VERSION = 1;
/** A line of a trial takes 1 to 3 KiB. */
const MAX_FILE_BYTES = 1 << 30;

/** A file that is no campaign's, or another campaign's. Exit code 2. */
export class ResultsError extends Error {
  override readonly name = "ResultsError";
}

/** A file's first line: what all its plans are made from, and on what they ran. */
export interface CampaignHead {
  /** A matrix is a campaign whose plans are fixed. */
  readonly kind: "campaign" | "matrix";
  readonly version: typeof RESULTS_VERSION;
  readonly seed: number;
  readonly freshEvery: number;
  readonly pagesEvery: number;
  /** Whether some trials add a CPU; left out where none does. */
  readonly cpus?: boolean | undefined;
  readonly qemu: string;
  readonly kexecTools: string;
  readonly accelerator: string;
}

/** A range in hex, `end` exclusive. */
export interface RecordRange {
  readonly start: string;
  readonly end: string;
  readonly bytes: number | string;
}

/** One trial's line. Times are milliseconds of the trial's clock. */
export interface TrialRecord {
  readonly kind: "trial";
  /** `KERNEL/LOAD/WAY/INDEX`: unique in a campaign. */
  readonly id: string;
  readonly kernel: string;
  readonly release: string;
  readonly load: LoadCall;
  readonly way: KeepingName;
  readonly index: number;
  readonly seed: number;
  readonly moment: Moment;
  /** Start of the kernel's text: one value for each KASLR layout. */
  readonly kernelCode: string;
  readonly fresh: boolean;
  readonly zone: "online" | "online_movable";
  readonly plannedPanicMs: number;
  readonly panickedMs: number;
  readonly steps: readonly { readonly what: string; readonly at: number; readonly done: number }[];
  /** Removals asked for before the panic, and DIMMs gone by then. */
  readonly removals: { readonly asked: number; readonly gone: number };
  readonly outcome: Outcome;
  readonly reasons: readonly string[];
  /** Of a dump that is missing; null where there is one. */
  readonly cause: Cause | null;
  readonly onlineBytes: number | string;
  /** Online at the panic and not in the dump. */
  readonly missing: readonly RecordRange[];
  /** In the dump and gone. */
  readonly claimed: readonly RecordRange[];
  readonly pages: {
    readonly sampled: number;
    readonly equal: number;
    readonly different: number;
    readonly unreadable: number;
  } | null;
  readonly installs: readonly {
    readonly at: number;
    readonly pauseMicroseconds: number | null;
    readonly bytesWritten: number;
    readonly reactionMs: number | null;
  }[];
  /** Of trials that add a CPU and have a dump; left out for others. */
  readonly cpus?: CpuEvidence | undefined;
  readonly errors: readonly string[];
  /** The kernel's own state when it died. */
  readonly state: LastState;
  /** How long the trial took. */
  readonly ms: number;
  /** Guests that were lost before the panic; the trial was begun anew. */
  readonly lost: number;
  /** The command that runs this trial again. */
  readonly repeat: string;
}

const Count = v.pipe(v.number(), v.integer(), v.minValue(0));
const Bytes = v.union([v.number(), v.string()]);
const Hex = v.pipe(v.string(), v.regex(/^0x[0-9a-f]{1,16}$/));
const Ranges = v.array(v.object({ start: Hex, end: Hex, bytes: Bytes }));

const HeadSchema: v.GenericSchema<unknown, CampaignHead> = v.object({
  kind: v.picklist(["campaign", "matrix"]),
  version: v.literal(RESULTS_VERSION),
  seed: Count,
  freshEvery: Count,
  pagesEvery: Count,
  cpus: v.optional(v.boolean()),
  qemu: v.string(),
  kexecTools: v.string(),
  accelerator: v.string(),
});

const TrialSchema: v.GenericSchema<unknown, TrialRecord> = v.object({
  kind: v.literal("trial"),
  id: v.pipe(v.string(), v.maxLength(4096)),
  kernel: v.string(),
  release: v.string(),
  load: v.picklist(["kexec_file_load", "kexec_load"]),
  way: v.picklist(KEEPING_WAYS.map(({ name }) => name)),
  index: Count,
  seed: Count,
  moment: v.picklist(["before", "reaction", "during", "after"]),
  kernelCode: Hex,
  fresh: v.boolean(),
  zone: v.picklist(["online", "online_movable"]),
  plannedPanicMs: v.number(),
  panickedMs: v.number(),
  steps: v.array(v.object({ what: v.string(), at: v.number(), done: v.number() })),
  removals: v.object({ asked: Count, gone: Count }),
  outcome: v.picklist(["complete", "incomplete", "no-dump"]),
  reasons: v.array(v.string()),
  cause: v.nullable(v.picklist(["not-loaded", "lock-held", "unknown"])),
  onlineBytes: Bytes,
  missing: Ranges,
  claimed: Ranges,
  pages: v.nullable(v.object({ sampled: Count, equal: Count, different: Count, unreadable: Count })),
  installs: v.array(
    v.object({
      at: v.number(),
      pauseMicroseconds: v.nullable(v.number()),
      bytesWritten: Count,
      reactionMs: v.nullable(v.number()),
    }),
  ),
  cpus: v.optional(v.object({ online: Count, dumped: Count })),
  errors: v.array(v.string()),
  state: v.object({ image: v.boolean(), locked: v.boolean(), saved: v.boolean() }),
  ms: v.number(),
  lost: Count,
  repeat: v.string(),
});

/** A file of results. */
export interface CampaignResults {
  readonly head: CampaignHead;
  readonly trials: readonly TrialRecord[];
}

/** One value as a line. */
export function resultLine(value: CampaignHead | TrialRecord): string {
  return `${JSON.stringify(value)}\n`;
}

/**
 * Reads results. A last line without its end was being written when the run was killed: it is left out.
 *
 * @param name of the file, for errors.
 * @returns undefined where there is no whole line yet.
 * @throws {ResultsError} naming the line that is none.
 */
export function parseResults(text: string, name: string): CampaignResults | undefined {
  const lines = text.split("\n").slice(0, -1);
  const [first, ...rest] = lines.map((line, index) => ({ line, number: index + 1 }));
  if (!first) return undefined;
  const head = parseLine(HeadSchema, first, name);
  return { head, trials: rest.map((line) => parseLine(TrialSchema, line, name)) };
}

function parseLine<T>(
  schema: v.GenericSchema<unknown, T>,
  { line, number }: { readonly line: string; readonly number: number },
  name: string,
): T {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new ResultsError(`Line ${number} of ${name} is no JSON; expected results of lab campaign`);
  }
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw new ResultsError(
    `Line ${number} of ${name} is not of lab campaign: ${v.getDotPath(issue) ?? "it"}: ${issue.message}`,
  );
}

/** Reads a file of results; undefined where there is none, or nothing in it. */
export async function readResults(path: string): Promise<CampaignResults | undefined> {
  let text: string;
  try {
    const bytes = await readFile(path);
    if (bytes.length > MAX_FILE_BYTES)
      throw new ResultsError(
        `${path} has ${bytes.length} bytes, more than any campaign's results (${MAX_FILE_BYTES})`,
      );
    text = bytes.toString("utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
  return parseResults(text, path);
}

/** What makes two files parts of one campaign: the plans. Programs may differ, which the report says. */
export function samePlans(a: CampaignHead, b: CampaignHead): boolean {
  return (
    a.kind === b.kind &&
    a.seed === b.seed &&
    a.freshEvery === b.freshEvery &&
    a.pagesEvery === b.pagesEvery &&
    (a.cpus ?? false) === (b.cpus ?? false)
  );
}

/** Results put together. */
export interface MergedResults extends CampaignResults {
  /** Trials that were in several files; each is counted once, its first run. */
  readonly twice: readonly string[];
}

/**
 * Puts files of one campaign together.
 *
 * @throws {ResultsError} where they are of different campaigns.
 */
export function mergeResults(
  files: readonly { readonly name: string; readonly results: CampaignResults }[],
): MergedResults {
  const [first] = files;
  if (!first) throw new ResultsError("Nothing to put together: give files of results");
  const trials = new Map<string, TrialRecord>();
  const twice = new Set<string>();
  for (const { name, results } of files) {
    if (!samePlans(first.results.head, results.head))
      throw new ResultsError(
        `${name} is of another campaign than ${first.name}: ${results.head.kind} and ${first.results.head.kind}, seed ${results.head.seed} and ${first.results.head.seed}, a fresh boot in ${results.head.freshEvery} and ${first.results.head.freshEvery}, pages in ${results.head.pagesEvery} and ${first.results.head.pagesEvery}, CPUs ${results.head.cpus ?? false} and ${first.results.head.cpus ?? false}`,
      );
    for (const trial of results.trials) {
      if (trials.has(trial.id)) twice.add(trial.id);
      else trials.set(trial.id, trial);
    }
  }
  return { head: first.results.head, trials: [...trials.values()], twice: [...twice] };
}
