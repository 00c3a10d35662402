/** What a capture kernel would be told, for people and for programs. */
import type { Inspection } from "../keeper/audit.ts";
import type { HeaderFile } from "../targets/file.ts";
import { digestText, headerText, imageJson, imageRows, programHeadersJson } from "./header.ts";
import { jsonAddress, jsonRanges, SCHEMA_VERSION } from "./json.ts";
import { subjectJson, subjectText } from "./subject.ts";
import { columns, printable } from "./text.ts";

/** `inspect qmp:PATH`, for people. */
export function machineText(target: string, { image, reason }: Inspection): string {
  if (!image) return `${subjectText(target)}: ${printable(reason)}\n`;
  return `${subjectText(target)}\n${columns(imageRows(image), "  ")}${headerText(image.header)}`;
}

/** `inspect qmp:PATH --json`. */
export function machineJson(
  target: string,
  { image, reason }: Inspection,
): Readonly<Record<string, unknown>> {
  return {
    schemaVersion: SCHEMA_VERSION,
    ...subjectJson(target),
    reason: image ? null : reason,
    image: image ? { ...imageJson(image), headers: programHeadersJson(image.header) } : null,
  };
}

/** `inspect FILE`, for people. */
export function fileText(path: string, file: HeaderFile): string {
  const rows: (readonly string[])[] = [["file", `a ${file.kind.replace("-", " ")}`]];
  if (file.kind === "crash-memory") {
    rows.push(
      ["crash memory", file.crashMemory.toString()],
      ["core header", jsonAddress(file.headerAddress)],
      ["digest", digestText(file.digest)],
      ["command line", printable(file.commandLine.text)],
    );
  }
  return `${printable(path)}\n${columns(rows, "  ")}${headerText(file.header)}`;
}

/** `inspect FILE --json`. */
export function fileJson(path: string, file: HeaderFile): Readonly<Record<string, unknown>> {
  return {
    schemaVersion: SCHEMA_VERSION,
    file: path,
    kind: file.kind,
    ...(file.kind === "crash-memory"
      ? {
          crashMemory: jsonRanges(file.crashMemory),
          headerAddress: jsonAddress(file.headerAddress),
          digest: file.digest.state,
          commandLine: file.commandLine.text,
        }
      : {}),
    headers: programHeadersJson(file.header),
  };
}
