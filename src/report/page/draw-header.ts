/** A core header before and after, field by field and byte by byte. */
import { compareCoreHeaders } from "../../elfcore/compare.ts";
import { encodeCoreHeader } from "../../elfcore/encode.ts";
import { WIDE_FIELD_OFFSETS } from "../../elfcore/fields.ts";
import {
  type CoreHeader,
  E_PHNUM_OFFSET,
  EHDR_SIZE,
  PHDR_SIZE,
  type ProgramHeader,
} from "../../elfcore/header.ts";
import { kindsOf, type ProgramHeaderKind } from "../../elfcore/kinds.ts";
import { formatBytes } from "../../layout/range.ts";
import { html, type Markup } from "./markup.ts";
import type { Drawn, HeaderSection } from "./model.ts";

/** Rows that changed and are shown, at most. */
const MAX_ROWS = 200;
/** Lines of changed bytes that are shown, at most. */
const MAX_LINES = 96;
/** So many rows in a row without a change are shown as they are; of more the first and the last. */
const UNCHANGED_SHOWN = 5;
const LINE = 16;

const KINDS: Readonly<Record<ProgramHeaderKind, string>> = {
  "cpu-note": "CPU's note",
  "vmcoreinfo-note": "VMCOREINFO note",
  "kernel-text": "kernel text",
  ram: "RAM",
  backup: "backup region",
  unknown: "unknown",
};

interface Row {
  readonly kind: ProgramHeaderKind;
  readonly before: ProgramHeader | undefined;
  readonly after: ProgramHeader | undefined;
}

export function drawHeader({ title, before, after }: HeaderSection): Drawn {
  const rows = rowsOf(before.header, after.header);
  const [from, to] = [encodeCoreHeader(before.header), encodeCoreHeader(after.header)];
  const counts = {
    added: rows.filter((row) => row.before === undefined).length,
    removed: rows.filter((row) => row.after === undefined).length,
    changed: rows.filter((row) => row.before && row.after && row.before !== row.after).length,
  };
  return {
    body: html`<p>
        Before: ${before.words}, ${before.header.programHeaders.length} program headers, ${from.length} bytes.
        After: ${after.words}, ${after.header.programHeaders.length} program headers, ${to.length} bytes.
        ${counts.added} added, ${counts.removed} removed, ${counts.changed} changed.
      </p>
      <div class="scroll" tabindex="0" role="group" aria-label="${title}: program headers">
        <table class="headers">
          <caption>
            Program headers:
            <ins>after</ins
            >,
            <del>before</del>
          </caption>
          <thead>
            <tr>
              <th scope="col">what</th>
              <th scope="col">is</th>
              <th scope="col">p_paddr</th>
              <th scope="col">end</th>
              <th scope="col">p_memsz</th>
              <th scope="col">p_offset</th>
              <th scope="col">p_vaddr</th>
            </tr>
          </thead>
          <tbody>
            ${shownRows(rows)}
          </tbody>
        </table>
      </div>
      ${bytesTable(title, from, to)}`,
  };
}

function rowsOf(before: CoreHeader, after: CoreHeader): readonly Row[] {
  const { added, changed, removed } = compareCoreHeaders(before, after);
  const isNew = new Set(added.map(({ programHeader }) => programHeader));
  const old = new Map(changed.map((change) => [change.after, change.before]));
  const kinds = kindsOf(after);
  const rows: Row[] = after.programHeaders.map((header, i) => ({
    kind: kinds[i] ?? "unknown",
    before: isNew.has(header) ? undefined : (old.get(header) ?? header),
    after: header,
  }));
  for (const { kind, programHeader } of removed) {
    const place = rows.findLastIndex(
      (row) =>
        (row.after ?? row.before)!.p_type === programHeader.p_type &&
        (row.after ?? row.before)!.p_paddr < programHeader.p_paddr,
    );
    rows.splice(place < 0 ? rows.length : place + 1, 0, { kind, before: programHeader, after: undefined });
  }
  return rows;
}

function shownRows(rows: readonly Row[]): readonly Markup[] {
  const shown: Markup[] = [];
  let left = MAX_ROWS;
  for (let i = 0; i < rows.length;) {
    let same = 0;
    while (i + same < rows.length && rows[i + same]!.before === rows[i + same]!.after) same++;
    if (same > UNCHANGED_SHOWN) {
      shown.push(
        rowMarkup(rows[i]!),
        html`<tr>
          <td colspan="7" class="more">${same - 2} more without a change</td>
        </tr> `,
        rowMarkup(rows[i + same - 1]!),
      );
      i += same;
      continue;
    }
    const count = same === 0 ? 1 : same;
    if (left < count) {
      shown.push(
        html`<tr>
          <td colspan="7" class="more">
            ${rows.length - i} more are not shown; <code>inspect --json</code> lists all
          </td>
        </tr>`,
      );
      break;
    }
    left -= count;
    shown.push(...rows.slice(i, i + count).map(rowMarkup));
    i += count;
  }
  return shown;
}

function rowMarkup({ kind, before, after }: Row): Markup {
  const status =
    before === after ? "same" : before === undefined ? "added" : after === undefined ? "removed" : "changed";
  const now = after ?? before!;
  const cell = (value: (header: ProgramHeader) => string): Markup => {
    if (status === "added") return html`<ins>${value(now)}</ins>`;
    if (status === "removed") return html`<del>${value(now)}</del>`;
    const [old, own] = [value(before!), value(now)];
    return old === own ? html`${own}` : html`<del>${old}</del> <ins>${own}</ins>`;
  };
  const address = (pick: (header: ProgramHeader) => bigint): Markup =>
    html`<td><code>${cell((header) => `0x${pick(header).toString(16)}`)}</code></td>`;
  return html`<tr class="${status}">
    <th scope="row">${KINDS[kind]}</th>
    <td>${STATUS[status]}</td>
    ${address((h) => h.p_paddr)}${address((h) => h.p_paddr + h.p_memsz)}
    <td>${cell((h) => formatBytes(h.p_memsz))}</td>
    ${address((h) => h.p_offset)}${address((h) => h.p_vaddr)}
  </tr> `;
}

const STATUS = { same: "same", added: "+ added", removed: "− removed", changed: "≠ changed" } as const;

function bytesTable(title: string, before: Uint8Array, after: Uint8Array): Markup {
  const length = Math.max(before.length, after.length);
  const lines: number[] = [];
  let changed = 0;
  for (let offset = 0; offset < length; offset += LINE) {
    const end = Math.min(length, offset + LINE);
    let here = 0;
    for (let i = offset; i < end; i++) if (before[i] !== after[i]) here++;
    changed += here;
    if (here > 0) lines.push(offset);
  }
  if (lines.length === 0) return html`<p>No byte of it differs.</p>`;
  const shown = lines.slice(0, MAX_LINES);
  const more =
    lines.length > shown.length
      ? html`<p class="note">
          ${lines.length - shown.length} more lines have changed bytes and are not shown.
        </p>`
      : "";
  return html`<details open>
    <summary>
      ${changed} bytes differ, in ${lines.length} of ${Math.ceil(length / LINE)} lines of ${LINE}
    </summary>
    <div class="scroll" tabindex="0" role="group" aria-label="${title}: bytes">
      <table class="bytes">
        <caption>
          Lines of the header with changed bytes; changed ones are marked,
          <code>··</code>
          is behind the end
        </caption>
        <thead>
          <tr>
            <th scope="col">offset</th>
            <th scope="col">before</th>
            <th scope="col">after</th>
            <th scope="col">what changed</th>
          </tr>
        </thead>
        <tbody>
          ${shown.map(
            (offset) =>
              html`<tr>
                <th scope="row"><code>0x${offset.toString(16)}</code></th>
                <td><code>${lineBytes(before, after, offset)}</code></td>
                <td><code>${lineBytes(after, before, offset)}</code></td>
                <td>${fieldsAt(before, after, offset)}</td>
              </tr> `,
          )}
        </tbody>
      </table>
    </div>
    ${more}
  </details>`;
}

/** Sixteen bytes; neighbours that differ from the other side are marked together. */
function lineBytes(bytes: Uint8Array, other: Uint8Array, offset: number): readonly Markup[] {
  const parts: Markup[] = [];
  for (let i = offset; i < offset + LINE;) {
    const differs = bytes[i] !== other[i];
    let end = i + 1;
    while (end < offset + LINE && (bytes[end] !== other[end]) === differs) end++;
    const text = Array.from({ length: end - i }, (_, n) => byteText(bytes[i + n])).join(" ");
    const space = i > offset ? " " : "";
    parts.push(differs ? html`${space}<mark>${text}</mark>` : html`${space}${text}`);
    i = end;
  }
  return parts;
}

function byteText(byte: number | undefined): string {
  return byte === undefined ? "··" : byte.toString(16).padStart(2, "0");
}

function fieldsAt(before: Uint8Array, after: Uint8Array, offset: number): string {
  const fields = new Map<string, Set<string>>();
  for (let i = offset; i < offset + LINE; i++) {
    if (before[i] === after[i]) continue;
    const [of, name] = fieldAt(i);
    fields.set(of, (fields.get(of) ?? new Set()).add(name));
  }
  return [...fields].map(([of, names]) => `${of}: ${[...names].join(", ")}`).join("; ");
}

function fieldAt(offset: number): readonly [of: string, field: string] {
  if (offset < EHDR_SIZE) {
    const isCount = offset === E_PHNUM_OFFSET || offset === E_PHNUM_OFFSET + 1;
    return ["file header", isCount ? "e_phnum" : `byte 0x${offset.toString(16)}`];
  }
  const inside = (offset - EHDR_SIZE) % PHDR_SIZE;
  const of = `program header ${Math.floor((offset - EHDR_SIZE) / PHDR_SIZE)}`;
  if (inside < 4) return [of, "p_type"];
  if (inside < 8) return [of, "p_flags"];
  const field = Object.entries(WIDE_FIELD_OFFSETS).find(([, at]) => at <= inside && inside < at + 8);
  return [of, field?.[0] ?? `byte 0x${inside.toString(16)}`];
}
