/** Tables and notes. */
import { html, type Markup, withUnits } from "./markup.ts";
import type { Cell, Drawn, NoteSection, TableSection, TextSection, Tone } from "./model.ts";

/** Before a text, so that its tone is not told by colour alone. */
export const TONE_MARKS: Readonly<Record<Tone, string>> = {
  good: "✓",
  bad: "✗",
  doubt: "!",
  unknown: "?",
  plain: "",
};

/** A table that can be scrolled by itself, its first column the rows' names. */
export interface TableParts {
  /** For who cannot see it. */
  readonly label: string;
  readonly caption: string;
  /** Where the caption is said by a heading already. */
  readonly isCaptionHidden?: boolean;
  readonly head: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
}

export function tableMarkup({ label, caption, isCaptionHidden, head, rows }: TableParts): Markup {
  return html`<div class="scroll" tabindex="0" role="group" aria-label="${label}">
    <table>
      <caption class="${isCaptionHidden ? "sr" : ""}">
        ${caption}
      </caption>
      <thead>
        <tr>
          ${head.map((name) => (name === "" ? html`<td></td>` : html`<th scope="col">${name}</th>`))}
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          (row) =>
            html`<tr>
              ${row.map((cell, i) => (i === 0 ? html`<th scope="row">${cellMarkup(cell)}</th>` : html`<td class="${isShort(cell) ? "" : "t"}">${cellMarkup(cell)}</td>`))}
            </tr> `,
        )}
      </tbody>
    </table>
  </div>`;
}

export function drawTable({ title, head, rows, limit = Infinity }: TableSection): Drawn {
  const shown = rows.length > limit ? rows.slice(0, limit) : rows;
  const more =
    shown.length < rows.length
      ? html`<p class="note">
          ${rows.length - shown.length} more rows are not shown; <code>--json</code> has all of them.
        </p>`
      : "";
  const table = { label: `${title}: table`, caption: title, isCaptionHidden: true, head, rows: shown };
  return { body: html`${tableMarkup(table)} ${more}` };
}

/** What is not to be broken into two lines: a number with its unit. */
function isShort(cell: Cell): boolean {
  return (typeof cell === "string" ? cell : "text" in cell ? cell.text : cell.code).length <= 24;
}

function cellMarkup(cell: Cell): Markup {
  if (typeof cell === "string") return html`${cell}`;
  if ("code" in cell) return html`<code>${cell.code}</code>`;
  return toned(cell.tone, cell.text);
}

/** A text with its tone's mark. */
export function toned(tone: Tone, text: string): Markup {
  if (tone === "plain") return html`${text}`;
  return html`<span class="tone ${tone}"><span aria-hidden="true">${TONE_MARKS[tone]}</span> ${text}</span>`;
}

export function drawText({ title, body }: TextSection): Drawn {
  return {
    body: html`<div class="scroll" tabindex="0" role="group" aria-label="${title}"><pre>${body}</pre></div>`,
  };
}

export function drawNotes({ notes }: NoteSection): Drawn {
  return {
    body: html`<ul>
      ${notes.map((note) => html`<li>${withUnits(note)}</li> `)}
    </ul>`,
  };
}
