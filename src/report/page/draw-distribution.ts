/** Durations of many as a histogram on a logarithmic axis, and in numbers. */
import { scaleLog } from "d3-scale";
import { percentile } from "../../lab/campaign/gap.ts";
import { duration } from "./draw-timeline.ts";
import { tableMarkup } from "./draw-table.ts";
import { html, type Markup } from "./markup.ts";
import type { DistributionSection, Drawn } from "./model.ts";

const HEIGHT = 56;
/** Bars of a factor of ten. */
const BARS_PER_DECADE = 12;
/** Shorter ones are drawn as this long, ms: a logarithm has no place for 0. */
const SHORTEST = 0.001;

export function drawDistribution({ title, what, series }: DistributionSection): Drawn {
  const sorted = series.map(({ name, values }) => ({ name, values: values.toSorted((a, b) => a - b) }));
  const all = sorted.flatMap(({ values }) => values);
  const low =
    10 **
    Math.floor(
      Math.log10(
        Math.max(
          SHORTEST,
          all.reduce((a, b) => Math.min(a, b), Infinity),
        ),
      ),
    );
  const most = Math.max(
    SHORTEST,
    all.reduce((a, b) => Math.max(a, b), 0),
  );
  const high = Math.max(low * 10, 10 ** Math.ceil(Math.log10(most * 1.0001)));
  return {
    body: html`<figure>
        <div class="bands">
          ${sorted.map(
            ({ name, values }) =>
              html`<div class="row">
                <div class="name"><b>${name}</b></div>
                ${histogram(name, what, values, low, high)}
              </div> `,
          )}
          <div class="row" aria-hidden="true">
            <div class="name"></div>
            ${axis(low, high)}
          </div>
        </div>
        <figcaption>
          How many took how long, on a logarithmic axis; the solid line is the median, the dashed one the 99th
          percentile. Each row has its own height.
        </figcaption>
      </figure>
      ${tableMarkup({
        label: `${title}: table`,
        caption: `${title}, in numbers`,
        head: ["of", "how many", "shortest", "median", "90 %", "99 %", "longest"],
        rows: sorted.map(({ name, values }) => [
          name,
          String(values.length),
          ...[0, 0.5, 0.9, 0.99, 1].map((at) => text(percentile(values, at))),
        ]),
      })}`,
  };
}

function text(ms: number | undefined): string {
  return ms === undefined ? "-" : duration(ms);
}

function histogram(name: string, what: string, values: readonly number[], low: number, high: number): Markup {
  const bars = Math.round(Math.log10(high / low) * BARS_PER_DECADE);
  const counts = Array.from({ length: bars }, () => 0);
  const place = (value: number): number =>
    (Math.log10(Math.max(low, value) / low) / Math.log10(high / low)) * bars;
  for (const value of values) counts[Math.min(bars - 1, Math.floor(place(value)))]!++;
  const most = Math.max(1, ...counts);
  const width = 100 / bars;
  const rects = counts.map((count, i) => {
    if (count === 0) return "";
    const height = Math.max(2, (count / most) * HEIGHT);
    return html`<rect
      class="bar"
      x="${(i * width).toFixed(2)}%"
      width="${(width * 0.92).toFixed(2)}%"
      y="${(HEIGHT - height).toFixed(1)}"
      height="${height.toFixed(1)}"
    />`;
  });
  const mark = (share: number, kind: string): Markup | string => {
    const value = percentile(values, share);
    if (value === undefined) return "";
    const x = ((place(value) / bars) * 100).toFixed(2);
    return html`<line class="${kind}" x1="${x}%" x2="${x}%" y1="0" y2="${HEIGHT}" />`;
  };
  const words = `${name}: ${values.length} of ${what}, median ${text(percentile(values, 0.5))}, longest ${text(values.at(-1))}`;
  return html`<svg class="histogram" width="100%" height="${HEIGHT}" role="img" aria-label="${words}">
    ${rects}${mark(0.5, "median")}${mark(0.99, "worst")}
  </svg>`;
}

function axis(low: number, high: number): Markup {
  const scale = scaleLog().domain([low, high]).range([0, 100]);
  const decades = Math.round(Math.log10(high / low));
  const ticks = Array.from({ length: decades + 1 }, (_, i) => {
    const value = low * 10 ** i;
    const x = scale(value).toFixed(2);
    const anchor = i === 0 ? "start" : i === decades ? "end" : "middle";
    return html`<g
      ><line x1="${x}%" x2="${x}%" y1="0" y2="5" /><text x="${x}%" y="18" text-anchor="${anchor}"
        >${label(value)}</text
      ></g
    >`;
  });
  return html`<svg class="axis" height="22" width="100%" aria-hidden="true">${ticks}</svg>`;
}

/** A power of ten. @param ms - of it. */
function label(ms: number): string {
  if (ms >= 999) return `${Number((ms / 1000).toPrecision(3))} s`;
  return ms >= 0.999 ? `${Number(ms.toPrecision(3))} ms` : `${Number((ms * 1000).toPrecision(3))} µs`;
}
