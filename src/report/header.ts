/** A core header and its image, for people and for programs. */
import { type CoreHeader, type ProgramHeader, programHeaderRoom } from "../elfcore/header.ts";
import { kindsOf } from "../elfcore/kinds.ts";
import type { DigestFinding } from "../image/digest.ts";
import type { CaptureImage } from "../image/locate.ts";
import { hasMoved } from "../image/named-header.ts";
import { formatBytes } from "../layout/range.ts";
import { jsonAddress, jsonBytes } from "./json.ts";
import { columns, printable } from "./text.ts";

const DIGEST_WORDS: Readonly<Record<DigestFinding["state"], string>> = {
  "covers-header": "matches, covers the header",
  "excludes-header": "matches, leaves the header out",
  mismatch: "does not match: a panic would hang",
  "not-found": "not found",
};

/** The program headers of `header`, one per line. */
export function headerText(header: CoreHeader): string {
  const kinds = kindsOf(header);
  const rows = header.programHeaders.map((ph, i) => [
    String(i),
    kinds[i]!,
    jsonAddress(ph.p_paddr),
    jsonAddress(ph.p_paddr + ph.p_memsz),
    formatBytes(ph.p_memsz),
    ph.p_offset === ph.p_paddr ? "" : `at ${jsonAddress(ph.p_offset)}`,
    jsonAddress(ph.p_vaddr),
  ]);
  return columns([["", "what", "start", "end", "size", "", "virtual"], ...rows], "  ");
}

/** What is known of an image besides its header, as rows of name and value. */
export function imageRows(image: CaptureImage): readonly (readonly [string, string])[] {
  const header = `${jsonAddress(image.headerAddress)}, ${image.header.programHeaders.length} program headers, room for ${programHeaderRoom(image.headerCapacity)}${hasMoved(image) ? "; moved, its segment was too small" : ""}`;
  return [
    ["kernel", printable(image.vmcoreinfo.release)],
    ["crash memory", image.crashMemory.toString()],
    ["loaded", image.loaded],
    ["core header", header],
    ["digest", DIGEST_WORDS[image.digest.state]],
    ["command line", image.commandLine ? printable(image.commandLine.text) : "not found"],
  ];
}

/** The digest's state in words. */
export function digestText(digest: DigestFinding): string {
  return DIGEST_WORDS[digest.state];
}

/** An image for `--json`. */
export function imageJson(image: CaptureImage): Readonly<Record<string, unknown>> {
  return {
    state: image.loaded === "yes" ? "loaded" : "unconfirmed",
    kernel: image.vmcoreinfo.release,
    crashMemory: image.crashMemory.ranges.map(({ start, end }) => ({
      start: jsonAddress(start),
      end: jsonAddress(end),
    })),
    headerAddress: jsonAddress(image.headerAddress),
    headerCapacity: image.headerCapacity,
    headerMoved: hasMoved(image),
    programHeaders: image.header.programHeaders.length,
    digest: image.digest.state,
    commandLine: image.commandLine?.text ?? null,
  };
}

/** Program headers for `--json`, with the kernel's field names. */
export function programHeadersJson(header: CoreHeader): readonly Readonly<Record<string, unknown>>[] {
  const kinds = kindsOf(header);
  return header.programHeaders.map((ph, i) => ({ kind: kinds[i], ...fieldsJson(ph) }));
}

function fieldsJson(ph: ProgramHeader): Readonly<Record<string, unknown>> {
  return {
    p_type: ph.p_type,
    p_flags: ph.p_flags,
    p_offset: jsonAddress(ph.p_offset),
    p_vaddr: jsonAddress(ph.p_vaddr),
    p_paddr: jsonAddress(ph.p_paddr),
    p_filesz: jsonBytes(ph.p_filesz),
    p_memsz: jsonBytes(ph.p_memsz),
    p_align: jsonBytes(ph.p_align),
  };
}
