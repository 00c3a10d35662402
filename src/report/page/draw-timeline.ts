/** Bands of blind, stale and accurate. A band is as wide as the page: text stands outside of what is stretched. */
import { scaleLinear } from "d3-scale";
import { seconds } from "../text.ts";
import { columnsOf } from "../timeline.ts";
import { tableMarkup } from "./draw-table.ts";
import { html, type Markup, type Part } from "./markup.ts";
import type { Drawn, TimelineBand, TimelineSection } from "./model.ts";

/** Columns of a band: fewer than most screens have pixels, and enough that a column is a thin line on any. */
const COLUMNS = 480;
const HEIGHT = 24;

export const CONDITION_LEGEND: Markup = html`<p class="legend">
  <span
    ><svg class="swatch" aria-hidden="true"><rect class="blind" width="100%" height="100%" /></svg> blind: a
    panic gives no dump</span
  >
  <span
    ><svg class="swatch" aria-hidden="true"><rect class="stale" width="100%" height="100%" /></svg> stale: a
    dump that is not true</span
  >
  <span
    ><svg class="swatch" aria-hidden="true"><rect class="accurate" width="100%" height="100%" /></svg>
    accurate: a complete dump</span
  >
</p>`;

export function drawTimeline({ window, bands }: TimelineSection): Drawn {
  const rows = bands.map(
    (band) =>
      html`<div class="row">
        <div class="name">
          <b>${band.name}</b>${band.title === undefined ? "" : html`<small> ${band.title}</small>`}
        </div>
        ${bandSvg(band, window)}
      </div> `,
  );
  return {
    body: html`<figure>
        ${CONDITION_LEGEND}
        <div class="bands">
          ${rows}
          <div class="row" aria-hidden="true">
            <div class="name"></div>
            ${axisSvg(window)}
          </div>
        </div>
        <figcaption>
          The dark part of a column is the share of its time in which a panic gives no dump, the hatched part
          that in which the dump is not true; whatever happens at all is at least one pixel high.
        </figcaption>
      </figure>
      ${sumsTable(bands, window)}`,
  };
}

/** One band, without its name. */
export function bandSvg({ name, intervals }: TimelineBand, window: number, playhead = false): Markup {
  const sums = sumsOf(intervals);
  const shares = columnsOf(
    intervals.map((interval) => ({ ...interval, missingBytes: 0 })),
    window,
    COLUMNS,
  );
  const blind = shares.map((share) => pixels(share.blind));
  const wrong = shares.map((share, i) => Math.min(HEIGHT, blind[i]! + pixels(share.stale)));
  const words = `${name}: blind ${seconds(sums.blind)} in ${sums.windows} windows, stale ${seconds(sums.stale)}, accurate ${seconds(sums.accurate)} of ${seconds(window)}`;
  const head = playhead
    ? html`<line class="playhead" x1="0" x2="0" y1="0" y2="${HEIGHT}" vector-effect="non-scaling-stroke" />`
    : "";
  return html`<svg
    class="band"
    viewBox="0 0 ${COLUMNS} ${HEIGHT}"
    preserveAspectRatio="none"
    role="img"
    aria-label="${words}"
  >
    <rect class="accurate" width="${COLUMNS}" height="${HEIGHT}" />
    ${area(wrong, "stale")}${area(blind, "blind")}${head}
  </svg>`;
}

/** A staircase over the bottom line; nothing where it is flat. */
function area(heights: readonly number[], name: string): Part {
  if (heights.every((height) => height === 0)) return "";
  let path = `M0 ${HEIGHT}`;
  let level = 0;
  let run = 0;
  for (const height of heights) {
    if (height !== level) {
      path += `${run > 0 ? `h${run}` : ""}V${HEIGHT - height}`;
      [level, run] = [height, 0];
    }
    run++;
  }
  return html`<path class="${name}" d="${path}h${run}V${HEIGHT}z" />`;
}

/** Whole pixels; what happens at all is seen. */
function pixels(share: number): number {
  return share <= 1e-9 ? 0 : Math.max(1, Math.round(share * HEIGHT));
}

/** Seconds below the bands. */
export function axisSvg(window: number): Markup {
  const scale = scaleLinear()
    .domain([0, window / 1000])
    .range([0, 100]);
  const ticks = scale.ticks(8).map((value, i) => {
    const x = scale(value).toFixed(2);
    const anchor = i === 0 ? "start" : scale(value) > 97 ? "end" : "middle";
    return html`<g class="${i % 2 === 0 ? "major" : "minor"}"
      ><line x1="${x}%" x2="${x}%" y1="0" y2="5" /><text x="${x}%" y="18" text-anchor="${anchor}"
        >${value} s</text
      ></g
    >`;
  });
  return html`<svg class="axis" height="22" width="100%" aria-hidden="true">${ticks}</svg>`;
}

interface Sums {
  readonly blind: number;
  readonly stale: number;
  readonly accurate: number;
  readonly windows: number;
  readonly longest: number;
}

function sumsOf(intervals: TimelineBand["intervals"]): Sums {
  const sums = { blind: 0, stale: 0, accurate: 0, windows: 0, longest: 0 };
  let stretch = 0;
  for (const { start, end, condition } of intervals) {
    sums[condition] += end - start;
    if (condition === "blind") {
      if (stretch === 0) sums.windows++;
      stretch += end - start;
      sums.longest = Math.max(sums.longest, stretch);
    } else stretch = 0;
  }
  return sums;
}

function sumsTable(bands: readonly TimelineBand[], window: number): Markup {
  const percent = (ms: number): string => shareText(window > 0 ? ms / window : 0);
  return tableMarkup({
    label: "The same in numbers",
    caption: `The same in numbers, over ${seconds(window)}`,
    head: ["policy", "blind", "windows", "longest", "stale", "no dump", "not true", "complete"],
    rows: bands.map(({ name, intervals }) => {
      const sums = sumsOf(intervals);
      const parts = [sums.blind, sums.stale, sums.accurate].map(percent);
      const windows = String(sums.windows);
      return [name, duration(sums.blind), windows, duration(sums.longest), duration(sums.stale), ...parts];
    }),
  });
}

/** Milliseconds for people: `0`, `0.4 ms`, `12 ms`, `3.1 s`. */
export function duration(ms: number): string {
  if (ms === 0) return "0";
  if (ms >= 1000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  return `${ms < 10 ? ms.toFixed(2) : ms.toFixed(0)} ms`;
}

/** Nothing that can happen is shown as 0 %, and nothing as 100 % that need not. */
export function shareText(value: number): string {
  if (value <= 0) return "0 %";
  if (value >= 1) return "100 %";
  if (value > 0.9999) return "> 99.99 %";
  return value < 0.0001 ? "< 0.01 %" : `${(value * 100).toFixed(2)} %`;
}
