/** What was removed, and what was not, for people and for programs. */
import type { Audit } from "../keeper/audit.ts";
import type { BackendFate } from "../keeper/machine.ts";
import type { UnfinishedRemovalError, Unplugged } from "../keeper/unplug.ts";
import { describedMemory } from "../layout/described.ts";
import { formatBytes, type PhysicalRange, rangeBytes } from "../layout/range.ts";
import { auditJson } from "./audit.ts";
import { jsonRange, SCHEMA_VERSION } from "./json.ts";
import { subjectJson } from "./subject.ts";
import { milliseconds, printable } from "./text.ts";

/** What is to be told of a DIMM that was to be removed, whatever went wrong. */
export interface UnplugOutcome {
  readonly name: string;
  readonly range: PhysicalRange;
  readonly outcome: "removed" | "refused" | "pending";
  /** Why it is still there; empty where it is gone. */
  readonly reason: string;
  readonly staleMicroseconds?: number | undefined;
  readonly pauseMicroseconds?: number | undefined;
  readonly backend?: BackendFate | undefined;
  /** Where nobody could look afterwards: whether the header had been corrected by then. */
  readonly corrected?: boolean;
  /** The state afterwards; undefined where nobody could look. */
  readonly after: Audit | undefined;
}

/** One that came to its end. */
export function unplugOutcome(unplugged: Unplugged): UnplugOutcome {
  const { answer } = unplugged;
  return {
    ...unplugged,
    outcome: answer.answer,
    reason: answer.answer === "removed" ? "" : answer.reason,
  };
}

/** One that did not. */
export function unfinishedOutcome({ dimm, stage }: UnfinishedRemovalError): UnplugOutcome {
  const outcome = (
    { asked: "pending", refused: "refused", removed: "removed", corrected: "removed" } as const
  )[stage];
  const reason = { pending: "it was asked for", refused: "the guest refused", removed: "" }[outcome];
  const corrected = stage === "corrected";
  return { name: dimm.name, range: dimm.range, outcome, reason, corrected, after: undefined };
}

const OUTCOME_WORDS: Readonly<Record<UnplugOutcome["outcome"], string>> = {
  removed: "removed",
  refused: "not removed",
  pending: "not gone as far as is known",
};

/** One DIMM, one line. */
export function unpluggedText(dimm: UnplugOutcome): string {
  const { name, range, outcome, reason, staleMicroseconds, pauseMicroseconds, backend, after } = dimm;
  const why = reason === "" ? "" : `: ${printable(reason)}`;
  const took = [
    staleMicroseconds === undefined
      ? ""
      : `the header described it for ${milliseconds(staleMicroseconds)} after it was gone`,
    pauseMicroseconds === undefined ? "" : `the guest stood still for ${milliseconds(pauseMicroseconds)}`,
    backend?.fate === "left" ? printable(backend.reason) : "",
  ].filter((text) => text !== "");
  return `${printable(name)}: ${formatBytes(rangeBytes(range))} ${OUTCOME_WORDS[outcome]}${why}${took.map((text) => `, ${text}`).join("")}; ${headerText(dimm, after)}\n`;
}

function headerText({ range, outcome, corrected }: UnplugOutcome, after: Audit | undefined): string {
  if (after === undefined) {
    return {
      removed: `the header ${corrected ? "was corrected, and not looked at again" : "may still describe it"}`,
      refused: "the header was not looked at again",
      pending: "the header describes it, also once it is gone",
    }[outcome];
  }
  if (after.image === undefined) return `no header was found (${after.verdict})`;
  const described = outcome !== "removed" && describedMemory(after.image.header).overlaps(range);
  return described ? `the header describes it and is ${after.verdict}` : `the header is ${after.verdict}`;
}

/** `unplug --json`. */
export function unpluggedJson(
  target: string,
  dimms: readonly UnplugOutcome[],
): Readonly<Record<string, unknown>> {
  const after = dimms.at(-1)?.after;
  return {
    schemaVersion: SCHEMA_VERSION,
    ...subjectJson(target),
    devices: dimms.map((dimm) => ({
      name: dimm.name,
      ...jsonRange(dimm.range),
      outcome: dimm.outcome,
      reason: dimm.reason,
      staleMicroseconds: dimm.staleMicroseconds ?? null,
      pauseMicroseconds: dimm.pauseMicroseconds ?? null,
      backend: dimm.backend?.fate ?? null,
    })),
    after: after ? auditJson(target, after) : null,
  };
}
