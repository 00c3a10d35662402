/** What was plugged, for people and for programs. */
import type { Plugged } from "../keeper/plug.ts";
import { formatBytes } from "../layout/range.ts";
import { auditJson } from "./audit.ts";
import { jsonBytes, SCHEMA_VERSION } from "./json.ts";
import { subjectJson } from "./subject.ts";
import { milliseconds, printable } from "./text.ts";

/** One DIMM, one line. */
export function pluggedText(dimm: Plugged): string {
  const pause =
    dimm.pauseMicroseconds === undefined
      ? ""
      : `, the guest stood still for ${milliseconds(dimm.pauseMicroseconds)}`;
  return `${printable(dimm.id)}: ${formatBytes(dimm.size)} plugged${pause}; the header is ${dimm.after.verdict}\n`;
}

/** `plug --json`. */
export function pluggedJson(target: string, plugged: readonly Plugged[]): Readonly<Record<string, unknown>> {
  const last = plugged.at(-1);
  return {
    schemaVersion: SCHEMA_VERSION,
    ...subjectJson(target),
    plugged: plugged.map(({ id, size, pauseMicroseconds }) => ({
      id,
      bytes: jsonBytes(size),
      pauseMicroseconds: pauseMicroseconds ?? null,
    })),
    after: last ? auditJson(target, last.after) : null,
  };
}
