/** What a keeper did while it watched, one line each; for programs, one JSON document a line. */
import { bytesWritten } from "../image/plan.ts";
import type { InsideInstall } from "../keeper/inside.ts";
import type { InstallReport } from "../keeper/install.ts";
import type { WatchEvent } from "../keeper/watch.ts";
import { formatBytes } from "../layout/range.ts";
import type { RangeSet } from "../layout/range-set.ts";
import { auditJson, installedJson } from "./audit.ts";
import { insideInstallJson, insideInstallText } from "./inside.ts";
import { SCHEMA_VERSION } from "./json.ts";
import { subjectJson, subjectText } from "./subject.ts";
import { milliseconds, printable } from "./text.ts";

/** How an install is told of. */
export interface InstallReporter<I> {
  /** Parts of a sentence. */
  text(installed: I): readonly string[];
  json(installed: I): Readonly<Record<string, unknown>>;
}

/** Installs from outside. */
export const OUTSIDE_INSTALLS: InstallReporter<InstallReport> = {
  text: ({ writes, pauseMicroseconds }) => [
    `${formatBytes(BigInt(bytesWritten(writes)))} written`,
    ...(pauseMicroseconds === undefined
      ? []
      : [`the guest stood still for ${milliseconds(pauseMicroseconds)}`]),
  ],
  json: installedJson,
};

/** Installs from inside. */
export const INSIDE_INSTALLS: InstallReporter<InsideInstall> = {
  text: (installed) => [insideInstallText(installed)],
  json: insideInstallJson,
};

/** Installs of either kind. */
export const INSTALLS: InstallReporter<InstallReport | InsideInstall> = {
  text: (installed) =>
    "way" in installed ? INSIDE_INSTALLS.text(installed) : OUTSIDE_INSTALLS.text(installed),
  json: (installed) =>
    "way" in installed ? INSIDE_INSTALLS.json(installed) : OUTSIDE_INSTALLS.json(installed),
};

/** One event, for people. @param at when it was, ISO 8601. */
export function watchText<I>(
  target: string,
  at: string,
  event: WatchEvent<I>,
  reporter: InstallReporter<I>,
): string {
  return `${at} ${subjectText(target)}: ${eventText(event, reporter)}\n`;
}

function eventText<I>(event: WatchEvent<I>, reporter: InstallReporter<I>): string {
  switch (event.kind) {
    case "verdict":
      return `${event.audit.verdict} (${printable(event.audit.reason)})${event.audit.warnings.map((warning) => `; warning: ${printable(warning)}`).join("")}`;
    case "installed": {
      const { before, installed, reactionMs } = event;
      const changes = [changeText("described", before.missing), changeText("taken out", before.stale)].flat();
      // Nothing else is a reason to install.
      if (changes.length === 0)
        changes.push(
          before.verdict === "inaccurate" || before.verdict === "accurate"
            ? "described CPUs that have no note yet"
            : `was ${before.verdict}`,
        );
      const reaction =
        reactionMs === undefined ? [] : [`${reactionMs.toFixed(1)} ms after the change was seen`];
      return `installed: ${[...changes, ...reporter.text(installed), ...reaction].join("; ")}`;
    }
    case "failed":
      return `failed: ${printable(event.error.message)}`;
  }
}

function changeText(what: string, ranges: RangeSet): readonly string[] {
  return ranges.isEmpty ? [] : [`${ranges.toString()} ${what}`];
}

/** One event, for programs. @param at when it was, ISO 8601. */
export function watchJson<I>(
  target: string,
  at: string,
  event: WatchEvent<I>,
  reporter: InstallReporter<I>,
): Readonly<Record<string, unknown>> {
  const head = { schemaVersion: SCHEMA_VERSION, ...subjectJson(target), at, event: event.kind };
  switch (event.kind) {
    case "verdict":
      return { ...head, audit: auditJson(target, event.audit) };
    case "installed":
      return {
        ...head,
        before: auditJson(target, event.before),
        installed: reporter.json(event.installed),
        reactionMs: event.reactionMs ?? null,
      };
    case "failed":
      return { ...head, error: event.error.message };
  }
}
