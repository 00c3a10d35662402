/** When each policy was blind, stale and accurate, as bands over time: columns that a terminal and an SVG both draw. */
import { scaleLinear } from "d3-scale";
import type { Condition } from "../simulation/world/state.ts";
import type { Interval } from "../simulation/world/timeline.ts";

/** One policy's band. */
export interface Band {
  readonly name: string;
  /** Without gaps, from 0 on. */
  readonly intervals: readonly Interval[];
}

/** Which part of a column's time was what; the three add up to 1. */
export type Shares = Readonly<Record<Condition, number>>;

/**
 * Cuts a band into columns of equal time. Nothing gets lost: a window of a millisecond has its share of a column of a
 * minute.
 */
export function columnsOf(intervals: readonly Interval[], window: number, count: number): readonly Shares[] {
  const shares = Array.from({ length: count }, () => ({ blind: 0, stale: 0, accurate: 0 }));
  const width = window / count;
  for (const { start, end, condition } of intervals) {
    const last = Math.min(count - 1, Math.floor((end - 1e-9) / width));
    for (let column = Math.floor(start / width); column <= last; column++) {
      const part = Math.min(end, (column + 1) * width) - Math.max(start, column * width);
      shares[column]![condition] += Math.max(0, part) / width;
    }
  }
  return shares;
}

/** What the characters of {@link timelineText} say. */
export const TIMELINE_LEGEND = "# blind   x blind at times   ~ stale at times   . accurate";

/** Below this a share is a rounding error. */
const NOTHING = 1e-9;

function character({ blind, stale }: Shares): string {
  if (blind > 1 - NOTHING) return "#";
  if (blind > NOTHING) return "x";
  return stale > NOTHING ? "~" : ".";
}

/** Bands for a terminal of `width` characters, with a scale in seconds below. @param window - ms. */
export function timelineText(bands: readonly Band[], window: number, width: number): string {
  const names = Math.max(...bands.map(({ name }) => name.length));
  const count = Math.max(10, width - names - 2);
  const rows = bands.map(
    ({ name, intervals }) =>
      `${name.padEnd(names)}  ${columnsOf(intervals, window, count).map(character).join("")}\n`,
  );
  const end = `${(window / 1000).toFixed(1)} s`;
  const scale = `${"".padEnd(names)}  0 s${end.padStart(count - 3)}\n`;
  return `${rows.join("")}${scale}${"".padEnd(names)}  ${TIMELINE_LEGEND}\n`;
}

const WIDTH = 960;
const LEFT = 110;
const RIGHT = 16;
const BAND = 26;
const GAP = 10;
const TOP = 44;
const COLUMNS = WIDTH - LEFT - RIGHT;

/** Not by colour alone: blind fills from the bottom and is darkest, stale is hatched. */
const STYLE = `text{font:13px sans-serif;fill:#222}.axis{font-size:11px}.bg{fill:#fff}.accurate{fill:#cfe8cf}.blind{fill:#8b1a1a}.line{stroke:#888}
@media(prefers-color-scheme:dark){text{fill:#ddd}.bg{fill:#181818}.accurate{fill:#2f5a3a}.blind{fill:#ff7b72}}`;

/**
 * The same as one SVG document, which needs nothing else.
 *
 * @param window - ms.
 */
export function timelineSvg(title: string, bands: readonly Band[], window: number): string {
  const height = TOP + bands.length * (BAND + GAP) + 46;
  const scale = scaleLinear()
    .domain([0, window / 1000])
    .range([LEFT, WIDTH - RIGHT]);
  const axis = TOP + bands.length * (BAND + GAP) + 4;
  const ticks = scale.ticks(8).map((seconds) => {
    const x = scale(seconds).toFixed(1);
    return `<line class="line" x1="${x}" x2="${x}" y1="${axis}" y2="${axis + 5}"/><text class="axis" x="${x}" y="${axis + 18}" text-anchor="middle">${seconds} s</text>`;
  });
  const rows = bands.map(({ name, intervals }, i) => {
    const y = TOP + i * (BAND + GAP);
    return `<text x="${LEFT - 8}" y="${y + BAND - 8}" text-anchor="end">${escapeXml(name)}</text><rect class="accurate" x="${LEFT}" y="${y}" width="${COLUMNS}" height="${BAND}"/>${bandRects(columnsOf(intervals, window, COLUMNS), y)}`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-labelledby="t d">
<title id="t">${escapeXml(title)}</title>
<desc id="d">For each policy a band over time: the dark part of a column is the share of time in which a panic gives no dump, the hatched part that in which the dump is incomplete, the rest gives a complete dump.</desc>
<style>${STYLE}</style>
<defs><pattern id="stale" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" fill="#f2c14e"/><rect width="2" height="6" fill="#8a6100"/></pattern></defs>
<rect class="bg" width="${WIDTH}" height="${height}"/>
<text x="${LEFT}" y="20">${escapeXml(title)}</text>
${legend()}
${rows.join("\n")}
<line class="line" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${axis}" y2="${axis}"/>
${ticks.join("\n")}
</svg>
`;
}

function legend(): string {
  const entries = [
    ["blind", "no dump", ""],
    ["", "incomplete", ' fill="url(#stale)"'],
    ["accurate", "complete", ""],
  ] as const;
  return entries
    .map(([name, text, fill], i) => {
      const x = LEFT + i * 110;
      return `<rect class="${name}"${fill} x="${x}" y="27" width="12" height="12"/><text class="axis" x="${x + 17}" y="37">${text}</text>`;
    })
    .join("");
}

/** Rectangles of a band; neighbours that look the same are one. */
function bandRects(shares: readonly Shares[], y: number): string {
  const heights = shares.map(({ blind, stale }) => ({ blind: pixels(blind), stale: pixels(stale) }));
  const rects: string[] = [];
  for (let from = 0; from < heights.length;) {
    const { blind, stale } = heights[from]!;
    let to = from + 1;
    while (to < heights.length && heights[to]!.blind === blind && heights[to]!.stale === stale) to++;
    const rect = (bottom: number, size: number, how: string): void => {
      if (size > 0)
        rects.push(
          `<rect ${how} x="${LEFT + from}" y="${(y + BAND - bottom - size).toFixed(2)}" width="${to - from}" height="${size.toFixed(2)}"/>`,
        );
    };
    rect(0, blind, 'class="blind"');
    rect(blind, stale, 'fill="url(#stale)"');
    from = to;
  }
  return rects.join("");
}

/** Pixels, to a hundredth; what happens at all is seen. */
function pixels(share: number): number {
  if (share <= NOTHING) return 0;
  return Math.max(0.5, Math.round(share * BAND * 100) / 100);
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
