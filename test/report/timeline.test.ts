import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { columnsOf, timelineSvg, timelineText } from "../../src/report/timeline.ts";
import type { Condition } from "../../src/simulation/world/state.ts";
import { type Interval, sumsOf } from "../../src/simulation/world/timeline.ts";

function intervals(...parts: readonly (readonly [Condition, number])[]): readonly Interval[] {
  let start = 0;
  return parts.map(([condition, length]) => {
    const interval = { start, end: start + length, condition, missingBytes: 0 };
    start += length;
    return interval;
  });
}

describe("columns", () => {
  test("add up to what the intervals add up to, however short a window is", () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(
            fc.constantFrom<Condition>("blind", "stale", "accurate"),
            fc.double({ min: 1e-3, max: 1e4, noNaN: true }),
          ),
          { minLength: 1, maxLength: 40 },
        ),
        fc.integer({ min: 1, max: 200 }),
        (parts, count) => {
          const all = intervals(...parts);
          const window = all.at(-1)!.end;
          const shares = columnsOf(all, window, count);
          const width = window / count;
          const sum = (of: Condition): number =>
            shares.reduce((total, share) => total + share[of], 0) * width;
          expect(sum("blind") / 1000).toBeCloseTo(sumsOf(all).blindSeconds, 6);
          expect(sum("stale") / 1000).toBeCloseTo(sumsOf(all).staleSeconds, 6);
          for (const { blind, stale, accurate } of shares) expect(blind + stale + accurate).toBeCloseTo(1, 6);
        },
      ),
    );
  });
});

const BANDS = [
  { name: "rhel7", intervals: intervals(["blind", 500], ["stale", 250], ["accurate", 250]) },
  { name: "in-place", intervals: intervals(["accurate", 1000]) },
];

test("a terminal shows each policy's band, with what its characters say", () => {
  expect(timelineText(BANDS, 1000, 30)).toBe(
    [
      "rhel7     ##########~~~~~.....\n",
      "in-place  ....................\n",
      "          0 s            1.0 s\n",
      "          # blind   x blind at times   ~ stale at times   . accurate\n",
    ].join(""),
  );
});

test("a window of a millisecond in a column of a minute is still seen", () => {
  const band = { name: "p", intervals: intervals(["accurate", 30_000], ["blind", 1], ["accurate", 29_999]) };
  expect(timelineText([band], 60_000, 13).split("\n")[0]).toBe("p  .....x....");
});

test("the SVG is one document without anything from elsewhere, and says in words what it shows", () => {
  const svg = timelineSvg('a < b & "c"', BANDS, 1000);
  expect(svg).toMatch(/^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg"/);
  expect(svg).toContain('<title id="t">a &lt; b &amp; &quot;c&quot;</title>');
  expect(svg).toContain("<desc");
  expect(svg.replace("http://www.w3.org/2000/svg", "")).not.toMatch(/https?:|<script|<image|@import/);
  // Half of the band is dark, whole height; a quarter is hatched.
  expect(svg).toContain('<rect class="blind" x="110" y="44.00" width="417" height="26.00"/>');
  expect(svg).toContain('<rect fill="url(#stale)"');
});
