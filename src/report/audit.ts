/** An audit, and what a keeper did about it, for people and for programs. */
import { bytesWritten } from "../image/plan.ts";
import { hex } from "../elfcore/hex.ts";
import type { Audit, CpuAudit } from "../keeper/audit.ts";
import type { InstallReport } from "../keeper/install.ts";
import type { Reconciled } from "../keeper/keeper.ts";
import type { MemoryDevice } from "../layout/qmp.ts";
import { formatBytes, formatRange } from "../layout/range.ts";
import { imageJson, imageRows } from "./header.ts";
import { jsonAddress, jsonRange, jsonRanges, SCHEMA_VERSION } from "./json.ts";
import { subjectJson, subjectText } from "./subject.ts";
import { columns, milliseconds, printable } from "./text.ts";

/** `audit`, for people. */
export function auditText(target: string, audit: Audit): string {
  const rows: (readonly [string, string])[] = audit.image ? [...imageRows(audit.image)] : [];
  rows.push(...deviceRows(audit.layout.devices));
  if (!audit.missing.isEmpty) rows.push(["memory missing", audit.missing.toString()]);
  if (!audit.stale.isEmpty) rows.push(["memory stale", audit.stale.toString()]);
  const { cpus } = audit;
  if (audit.image) rows.push(["CPUs", cpuCounts(cpus)]);
  if (cpus.missing.length > 0) {
    const names = cpus.missing.map(printable).join(", ");
    rows.push(["CPUs missing", audit.layout.inside ? names : `${cpus.present - cpus.described} of ${names}`]);
  }
  if (cpus.unknown !== undefined && cpus.missing.length > 0)
    rows.push(["CPUs unknown", printable(cpus.unknown)]);
  const warnings = audit.warnings.map((warning) => `  warning: ${warning}\n`).join("");
  return `${subjectText(target)}: ${audit.verdict}\n  ${printable(audit.reason)}\n${columns(rows, "  ")}${warnings}`;
}

function cpuCounts({ present, described, possible }: CpuAudit): string {
  return `${present} present, ${described} described${possible === undefined ? "" : `, ${possible} possible`}`;
}

/** A machine may have 256 memory devices. */
const MAX_DEVICES_SHOWN = 8;

/** One line for each, by the names that `unplug` takes. */
function deviceRows(devices: readonly MemoryDevice[]): readonly (readonly [string, string])[] {
  const shown = devices.slice(0, MAX_DEVICES_SHOWN).map(({ id, kind, range }) => {
    const name = id === undefined ? `${kind} without an id` : printable(id);
    return `${name}: ${range === undefined ? "nothing plugged" : formatRange(range)}`;
  });
  const more = devices.length - shown.length;
  if (more > 0) shown.push(`and ${more} more (--json lists all)`);
  return shown.map((line, i) => [i === 0 ? "memory devices" : "", line]);
}

/** `audit --json`. */
export function auditJson(target: string, audit: Audit): Readonly<Record<string, unknown>> {
  return {
    schemaVersion: SCHEMA_VERSION,
    ...subjectJson(target),
    verdict: audit.verdict,
    reason: audit.reason,
    image: audit.image ? imageJson(audit.image) : null,
    memory: {
      missing: jsonRanges(audit.missing),
      stale: jsonRanges(audit.stale),
      devices: audit.layout.devices.map(({ id, kind, range }) => ({
        name: id ?? null,
        kind,
        ...(range === undefined ? { start: null, end: null, bytes: 0 } : jsonRange(range)),
      })),
    },
    cpus: cpusJson(audit.cpus),
    warnings: audit.warnings,
  };
}

function cpusJson({
  possible,
  undescribed,
  unknown,
  ...counts
}: CpuAudit): Readonly<Record<string, unknown>> {
  return {
    ...counts,
    possible: possible ?? null,
    undescribed: undescribed.map(({ cpu, note }) => ({ cpu, note: hex(note.paddr) })),
    unknown: unknown ?? null,
  };
}

/** `keep --once`, for people. */
export function reconciledText(target: string, result: Reconciled): string {
  const { before, after, installed } = result;
  if (!installed) return auditText(target, after);
  const bytes = bytesWritten(installed.writes);
  const what = installed.writes.map((write) => write.what).join(", ");
  const pause =
    installed.pauseMicroseconds === undefined
      ? "no pause was measured (the guest stood still already, or is simulated)"
      : `the guest stood still for ${milliseconds(installed.pauseMicroseconds)}`;
  return `${subjectText(target)}: was ${before.verdict} (${printable(before.reason)})\n  installed: ${what}, ${formatBytes(BigInt(bytes))}; ${pause}\n${auditText(target, after)}`;
}

/** `keep --once --json`. */
export function reconciledJson(target: string, result: Reconciled): Readonly<Record<string, unknown>> {
  const { before, after, installed } = result;
  return {
    ...auditJson(target, after),
    before: auditJson(target, before),
    installed: installed ? installedJson(installed) : null,
  };
}

/** One install, for programs. */
export function installedJson({
  pauseMicroseconds,
  writes,
}: InstallReport): Readonly<Record<string, unknown>> {
  return {
    pauseMicroseconds: pauseMicroseconds ?? null,
    writes: writes.map(({ what, address, after }) => ({
      what,
      address: jsonAddress(address),
      bytes: after.length,
    })),
  };
}
