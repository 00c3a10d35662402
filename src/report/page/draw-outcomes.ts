/** What panics gave: shares with their intervals, and moments. */
import { scaleLinear } from "d3-scale";
import { tableMarkup } from "./draw-table.ts";
import { html, type Markup, type Part } from "./markup.ts";
import type { Drawn, MomentSection, OutcomeRow, OutcomeSection } from "./model.ts";
import { axisSvg } from "./draw-timeline.ts";

const LEGEND: Markup = html`<p class="legend">
  <span
    ><svg class="swatch" aria-hidden="true"><rect class="accurate" width="100%" height="100%" /></svg>
    complete</span
  >
  <span
    ><svg class="swatch" aria-hidden="true"><rect class="stale" width="100%" height="100%" /></svg>
    incomplete</span
  >
  <span
    ><svg class="swatch" aria-hidden="true"><rect class="blind" width="100%" height="100%" /></svg> no
    dump</span
  >
</p>`;

export function drawOutcomes({ title, rows }: OutcomeSection): Drawn {
  const scale = scaleLinear().domain([0, 1]).range([0, 100]);
  const ticks = scale.ticks(5).map((value) => {
    const x = scale(value).toFixed(1);
    const anchor = value === 0 ? "start" : value === 1 ? "end" : "middle";
    return html`<g
      ><line x1="${x}%" x2="${x}%" y1="0" y2="5" /><text x="${x}%" y="18" text-anchor="${anchor}"
        >${Math.round(value * 100)} %</text
      ></g
    >`;
  });
  return {
    body: html`<figure>
        ${LEGEND}
        <div class="bands">
          ${rows.map(
            (row) =>
              html`<div class="row">
                <div class="name"><b>${row.name}</b></div>
                ${bar(row)}
              </div> `,
          )}
          <div class="row" aria-hidden="true">
            <div class="name"></div>
            <svg class="axis" height="22" width="100%">${ticks}</svg>
          </div>
        </div>
        <figcaption>
          What panics gave. The line below each bar is the interval in which the share of dumps that are not
          complete lies with 95 % confidence (Wilson), counted from the right: where it ends is the worst that
          these panics leave possible.
        </figcaption>
      </figure>
      ${tableMarkup({
        label: `${title}: table`,
        caption: `${title}, in numbers`,
        head: ["of", "panics", "complete", "incomplete", "no dump", "not complete, 95 %"],
        rows: rows.map((row) => [
          row.name,
          ...[total(row), row.complete, row.incomplete, row.noDump].map(String),
          intervalText(row),
        ]),
      })}`,
  };
}

function total({ complete, incomplete, noDump }: OutcomeRow): number {
  return complete + incomplete + noDump;
}

function intervalText({ notComplete95: [low, high] }: OutcomeRow): string {
  return `${(low * 100).toFixed(1)} to ${(high * 100).toFixed(1)} %`;
}

function bar(row: OutcomeRow): Markup {
  const all = Math.max(1, total(row));
  const [complete, incomplete] = [(row.complete / all) * 100, (row.incomplete / all) * 100];
  const [low, high] = row.notComplete95;
  const [right, left] = [low, high].map((share) => (100 - share * 100).toFixed(2));
  const words = `${row.name}: ${row.complete} complete, ${row.incomplete} incomplete, ${row.noDump} without a dump of ${total(row)} panics; not complete ${intervalText(row)} with 95 % confidence`;
  return html`<svg class="outcome" width="100%" height="38" role="img" aria-label="${words}">
    ${part("accurate", 0, complete)}${part("stale", complete, incomplete)}${part("blind", complete + incomplete, 100 - complete - incomplete)}
    <line class="whisker" x1="${right}%" x2="${left}%" y1="31" y2="31" />
    <line class="whisker" x1="${right}%" x2="${right}%" y1="27" y2="35" />
    <line class="whisker" x1="${left}%" x2="${left}%" y1="27" y2="35" />
  </svg>`;
}

function part(name: string, from: number, width: number): Part {
  if (width === 0) return "";
  return html`<rect
    class="${name}"
    x="${from.toFixed(2)}%"
    y="0"
    width="${width.toFixed(2)}%"
    height="24"
  />`;
}

/** A sign for each outcome, told apart by its form. Drawn around 0, 0. */
const SIGNS = {
  complete: "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0",
  incomplete: "M0-4.5L4.5 4H-4.5z",
  "no-dump": "M-4-4L4 4M4-4L-4 4",
} as const;

const ORDER = ["complete", "incomplete", "no-dump"] as const;
const ROW = 34;

function signLegend(outcome: (typeof ORDER)[number], words: string): Markup {
  return html`<span
    ><svg class="swatch" aria-hidden="true" viewBox="-6 -6 12 12">
      <path class="p-${outcome}" d="${SIGNS[outcome]}" />
    </svg>
    ${words}</span
  > `;
}

export function drawMoments({ rows }: MomentSection): Drawn {
  const window = Math.max(1, ...rows.flatMap(({ points }) => points.map(({ at }) => at))) * 1.02;
  return {
    body: html`<figure>
      <p class="legend">
        ${signLegend("complete", "complete")}${signLegend("incomplete", "incomplete")}${signLegend("no-dump", "no dump")}
      </p>
      <div class="bands">
        ${rows.map(
          ({ name, points }) =>
            html`<div class="row">
              <div class="name"><b>${name}</b></div>
              <svg
                class="moments"
                width="100%"
                height="${ROW}"
                role="img"
                aria-label="${name}: ${ORDER.map((outcome) => `${points.filter((point) => point.outcome === outcome).length} ${outcome}`).join(", ")}"
              >
                <line x1="0" x2="100%" y1="${ROW / 2}" y2="${ROW / 2}" />
                ${ORDER.flatMap((outcome) =>
                  points
                    .filter((point) => point.outcome === outcome)
                    .map(
                      ({ at }, i) =>
                        html`<svg
                          x="${((at / window) * 100).toFixed(2)}%"
                          y="${ROW / 2 + spread(i)}"
                          overflow="visible"
                        >
                          <path class="p-${outcome}" d="${SIGNS[outcome]}" />
                        </svg>`,
                    ),
                )}
              </svg>
            </div> `,
        )}
        <div class="row" aria-hidden="true">
          <div class="name"></div>
          ${axisSvg(window)}
        </div>
      </div>
      <figcaption>
        When each panic came, from the trial's beginning, and what it gave. Signs are moved up and down only
        so that fewer lie on each other.
      </figcaption>
    </figure>`,
  };
}

/** Up and down, so that neighbours can be told apart. */
function spread(i: number): number {
  return [0, -8, 8, -4, 4][i % 5]!;
}
