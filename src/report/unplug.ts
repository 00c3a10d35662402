/** What was removed, and what was not, for people and for programs. */
import type { Audit } from "../keeper/audit.ts";
import type { BackendFate } from "../keeper/machine.ts";
import type { UnfinishedRemovalError, Unplugged } from "../keeper/unplug.ts";
import type { UnpluggedCpu } from "../keeper/unplug-cpu.ts";
import { describedMemory } from "../layout/described.ts";
import { formatBytes, type PhysicalRange, rangeBytes } from "../layout/range.ts";
import { auditJson } from "./audit.ts";
import { jsonRange, SCHEMA_VERSION } from "./json.ts";
import { subjectJson } from "./subject.ts";
import { milliseconds, printable } from "./text.ts";

/** What is to be told of a DIMM or a CPU that was to be removed, whatever went wrong. */
export interface UnplugOutcome {
  readonly name: string;
  /** Of a DIMM; undefined for a CPU. */
  readonly range: PhysicalRange | undefined;
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
export function unplugOutcome(unplugged: Unplugged | UnpluggedCpu): UnplugOutcome {
  const { answer } = unplugged;
  return {
    range: undefined,
    ...unplugged,
    outcome: answer.answer,
    reason: answer.answer === "removed" ? "" : answer.reason,
  };
}

/** One that did not. */
export function unfinishedOutcome({ device, stage }: UnfinishedRemovalError): UnplugOutcome {
  const outcome = (
    { asked: "pending", refused: "refused", removed: "removed", corrected: "removed" } as const
  )[stage];
  const reason = { pending: "it was asked for", refused: "the guest refused", removed: "" }[outcome];
  const corrected = stage === "corrected";
  const range = device.kind === "dimm" ? device.range : undefined;
  return { name: device.name, range, outcome, reason, corrected, after: undefined };
}

const OUTCOME_WORDS: Readonly<Record<UnplugOutcome["outcome"], string>> = {
  removed: "removed",
  refused: "not removed",
  pending: "not gone as far as is known",
};

/** One DIMM or CPU, one line. */
export function unpluggedText(device: UnplugOutcome): string {
  const { name, range, outcome, reason, staleMicroseconds, pauseMicroseconds, backend } = device;
  const why = reason === "" ? "" : `: ${printable(reason)}`;
  const took = [
    staleMicroseconds === undefined
      ? ""
      : `the header described it for ${milliseconds(staleMicroseconds)} after it was gone`,
    pauseMicroseconds === undefined ? "" : `the guest stood still for ${milliseconds(pauseMicroseconds)}`,
    backend?.fate === "left" ? printable(backend.reason) : "",
  ].filter((text) => text !== "");
  return `${printable(name)}: ${range === undefined ? "a CPU" : formatBytes(rangeBytes(range))} ${OUTCOME_WORDS[outcome]}${why}${took.map((text) => `, ${text}`).join("")}; ${headerText(device)}\n`;
}

function headerText({ range, outcome, corrected, after }: UnplugOutcome): string {
  if (after === undefined) {
    if (range === undefined) return "the header need not know, and was not looked at again";
    return {
      removed: `the header ${corrected ? "was corrected, and not looked at again" : "may still describe it"}`,
      refused: "the header was not looked at again",
      pending: "the header describes it, also once it is gone",
    }[outcome];
  }
  if (after.image === undefined) return `no header was found (${after.verdict})`;
  const described =
    range !== undefined && outcome !== "removed" && describedMemory(after.image.header).overlaps(range);
  return described ? `the header describes it and is ${after.verdict}` : `the header is ${after.verdict}`;
}

/** `unplug --json`. */
export function unpluggedJson(
  target: string,
  devices: readonly UnplugOutcome[],
): Readonly<Record<string, unknown>> {
  const after = devices.at(-1)?.after;
  return {
    schemaVersion: SCHEMA_VERSION,
    ...subjectJson(target),
    devices: devices.map(
      ({ name, range, outcome, reason, staleMicroseconds, pauseMicroseconds, backend }) => ({
        name,
        ...(range === undefined ? { kind: "cpu" } : { kind: "dimm", ...jsonRange(range) }),
        outcome,
        reason,
        staleMicroseconds: staleMicroseconds ?? null,
        pauseMicroseconds: pauseMicroseconds ?? null,
        backend: backend?.fate ?? null,
      }),
    ),
    after: after ? auditJson(target, after) : null,
  };
}
