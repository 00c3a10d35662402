/** What a service tells of its targets, one line each; for programs, one JSON document a line. */
import type { ServiceEvent } from "../keeper/service-event.ts";
import { SCHEMA_VERSION } from "./json.ts";
import { subjectJson, subjectText } from "./subject.ts";
import { printable } from "./text.ts";
import { INSTALLS, watchJson, watchText } from "./watch.ts";

/** One event, for people. */
export function serviceText({ target, at, event }: ServiceEvent): string {
  const time = new Date(at).toISOString();
  switch (event.kind) {
    case "found":
      return `${time} ${subjectText(target)}: found, watched from now on\n`;
    case "unreachable":
    case "gone":
    case "resumed":
      return `${time} ${subjectText(target)}: ${event.kind}: ${printable(event.reason)}\n`;
    default:
      return watchText(target, time, event, INSTALLS);
  }
}

/** One event, for programs. */
export function serviceJson({ target, at, event }: ServiceEvent): Readonly<Record<string, unknown>> {
  const time = new Date(at).toISOString();
  switch (event.kind) {
    case "found":
    case "unreachable":
    case "gone":
    case "resumed": {
      const { kind, ...rest } = event;
      return { schemaVersion: SCHEMA_VERSION, ...subjectJson(target), at: time, event: kind, ...rest };
    }
    default:
      return watchJson(target, time, event, INSTALLS);
  }
}
