/** What was plugged, for people and for programs. */
import type { Audit } from "../keeper/audit.ts";
import type { Plugged } from "../keeper/plug.ts";
import type { PluggedCpu } from "../keeper/plug-cpu.ts";
import { formatBytes } from "../layout/range.ts";
import { auditJson } from "./audit.ts";
import { jsonBytes, SCHEMA_VERSION } from "./json.ts";
import { subjectJson } from "./subject.ts";
import { milliseconds, printable } from "./text.ts";

/** What is to be told of a device that is there, whatever went wrong after it was plugged. */
export interface PlugOutcome {
  readonly id: string;
  /** Bytes of a DIMM; undefined for a CPU. */
  readonly size: bigint | undefined;
  readonly pauseMicroseconds?: number | undefined;
  /** Whether the header was written. */
  readonly described: boolean;
  /** The state afterwards; undefined where nobody could look. */
  readonly after: Audit | undefined;
}

/** One that went well. */
export function outcomeOf(plugged: Plugged): PlugOutcome {
  return { ...plugged, described: plugged.after.missing.isEmpty };
}

/** A CPU that went well. */
export function cpuOutcomeOf({ id, pauseMicroseconds, after }: PluggedCpu): PlugOutcome {
  return { id, size: undefined, pauseMicroseconds, described: after.cpus.undescribed.length === 0, after };
}

/** One DIMM or CPU, one line. */
export function pluggedText(dimm: PlugOutcome): string {
  const pause =
    dimm.pauseMicroseconds === undefined
      ? ""
      : `, the guest stood still for ${milliseconds(dimm.pauseMicroseconds)}`;
  const header =
    dimm.after === undefined
      ? dimm.described
        ? "was written, and not looked at again"
        : "may not describe it"
      : `is ${dimm.after.verdict}`;
  return `${printable(dimm.id)}: ${dimm.size === undefined ? "a CPU" : formatBytes(dimm.size)} plugged${pause}; the header ${header}\n`;
}

/** What would spoil the dump although the header is true; empty where there is nothing. */
export function plugWarningsText(plugged: readonly PlugOutcome[]): string {
  const warnings = plugged.findLast(({ after }) => after !== undefined)?.after?.warnings ?? [];
  return warnings.map((warning) => `  warning: ${warning}\n`).join("");
}

/** `plug --json`. */
export function pluggedJson(
  target: string,
  plugged: readonly PlugOutcome[],
): Readonly<Record<string, unknown>> {
  const after = plugged.at(-1)?.after;
  return {
    schemaVersion: SCHEMA_VERSION,
    ...subjectJson(target),
    plugged: plugged.map(({ id, size, pauseMicroseconds, described }) => ({
      id,
      ...(size === undefined ? { kind: "cpu" } : { kind: "dimm", bytes: jsonBytes(size) }),
      pauseMicroseconds: pauseMicroseconds ?? null,
      described,
    })),
    after: after ? auditJson(target, after) : null,
  };
}
