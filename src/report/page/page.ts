/** One self-contained page: nothing is loaded, from nowhere, and a policy in the page itself forbids it. */
import { createHash } from "node:crypto";
import { drawDistribution } from "./draw-distribution.ts";
import { drawHeader } from "./draw-header.ts";
import { drawMap } from "./draw-map.ts";
import { drawMoments, drawOutcomes } from "./draw-outcomes.ts";
import { drawNotes, drawTable, drawText, toned } from "./draw-table.ts";
import { drawTimeline } from "./draw-timeline.ts";
import { html, jsonForScript, type Markup, trusted, withUnits } from "./markup.ts";
import { CELL_CLASSES, type Drawn, type PageModel, type Section } from "./model.ts";
import { scriptText } from "./script.ts";
import { STYLE } from "./style.ts";

/** What the page says of its making. */
export interface Imprint {
  /** Of this program. */
  readonly version: string;
  readonly made: Date;
}

/** @returns the whole document. */
export function page(model: PageModel, { version, made }: Imprint): string {
  const { title, simulated, lead, facts, command, sections, lacking } = model;
  const drawn = sections.map((section, i) => ({
    section,
    id: `s${i + 1}`,
    ...draw(section, `map${i + 1}`),
  }));
  const data = drawn.flatMap((each) => (each.data === undefined ? [] : [each.data]));
  const script = data.length > 0 ? scriptText() : "";
  const name = simulated === undefined ? title : `Simulated: ${title}`;
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta http-equiv="Content-Security-Policy" content="${policy(script)}" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <meta name="referrer" content="no-referrer" />
        <title>${name} - kdump-hotplug</title>
        ${trusted(`<style>${STYLE}</style>`)}
      </head>
      <body>
        <a class="skip" href="#main">To the content</a>
        <header>
          <small>kdump-hotplug</small>
          <h1>${title}</h1>
          ${simulated === undefined ? "" : html`<p class="simulated">Simulated: ${simulated}</p>`}
          <p class="lead ${lead.tone}">${toned(lead.tone, withUnits(lead.text))}</p>
          <nav aria-label="On this page">
            <ul>
              ${drawn.map(({ section, id }) => html`<li><a href="#${id}">${section.title}</a></li>`)}
              <li><a href="#run">What was run</a></li>
            </ul>
          </nav>
        </header>
        <main id="main">
          ${drawn.map(
            ({ section, id, body }) =>
              html`<section aria-labelledby="${id}">
                <h2 id="${id}">${section.title}</h2>
                ${section.text === undefined ? "" : html`<p>${withUnits(section.text)}</p> `}${body}
              </section> `,
          )}
          <section aria-labelledby="run">
            <h2 id="run">What was run</h2>
            <dl>
              ${facts.map(
                ([fact, value]) =>
                  html`<dt>${fact}</dt>
                    <dd>${value}</dd>`,
              )}
            </dl>
            <p>The same again:</p>
            <pre tabindex="0"><code>${command}</code></pre>
          </section>
          ${
            lacking.length === 0
              ? ""
              : html`<section aria-labelledby="lacking">
                  <h2 id="lacking">What this page has no data for</h2>
                  <dl>
                    ${lacking.map(
                      ([what, why]) =>
                        html`<dt>${what}</dt>
                          <dd>${why}</dd>`,
                    )}
                  </dl>
                </section>`
          }
        </main>
        <footer>
          Made by kdump-hotplug ${version}, ${made.toISOString().replace(/\.\d+Z$/, "Z")}. This file is all of
          it: it loads nothing and sends
          nothing.${script === "" ? "" : html`<noscript> Stepping through the memory map needs scripts, which are off: each map shows one step.</noscript>`}
        </footer>
        ${patterns()}
        ${script === "" ? "" : dataElement(data)}${script === "" ? "" : trusted(`<script>${script}</script>`)}
      </body>
    </html> `.text;
}

function dataElement(data: readonly unknown[]): Markup {
  return trusted(`<script type="application/json" id="page-data">${jsonForScript(data).text}</script>`);
}

/** Only this very script and this very style sheet; not even a picture. */
function policy(script: string): string {
  const scripts = script === "" ? "'none'" : hash(script);
  return `default-src 'none'; script-src ${scripts}; style-src ${hash(STYLE)}; base-uri 'none'; form-action 'none'`;
}

function hash(text: string): string {
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
}

function draw(section: Section, id: string): Drawn {
  switch (section.kind) {
    case "timeline":
      return drawTimeline(section);
    case "map":
      return drawMap(section, id);
    case "header":
      return drawHeader(section);
    case "distribution":
      return drawDistribution(section);
    case "outcomes":
      return drawOutcomes(section);
    case "moments":
      return drawMoments(section);
    case "table":
      return drawTable(section);
    case "notes":
      return drawNotes(section);
    case "text":
      return drawText(section);
  }
}

/** What each cell of a map has drawn in it. */
const GLYPHS: Readonly<Record<(typeof CELL_CLASSES)[number], string>> = {
  none: "M0 0H10V10",
  backed: "M4 5h2",
  described: "M2 5h6",
  crash: "M3 2v6M7 2v6",
  held: "M0 0H10V10",
  stale: "M2 2L8 8M8 2L2 8",
  missing: "M1 9L9 1",
};

/** Patterns that the whole page shares. */
function patterns(): Markup {
  return html`<svg class="defs" aria-hidden="true" focusable="false">
    <defs>
      <pattern id="stale" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
        <rect class="stale-paper" width="6" height="6" />
        <line class="stale-ink" x1="0" x2="0" y1="0" y2="6" />
      </pattern>
      ${CELL_CLASSES.map((name) => html`<pattern id="m-${name}" width="10" height="10" patternUnits="userSpaceOnUse"><rect class="f-${name}" width="10" height="10" /><path class="i-${name}" d="${GLYPHS[name]}" fill="none" stroke-width="${name === "missing" || name === "stale" ? "1.8" : "1.2"}" /></pattern>`)}
    </defs>
  </svg>`;
}
