/** A page with every kind of section, in which every string that may come from elsewhere is the same one. */
import type { CoreHeader } from "../../../src/elfcore/header.ts";
import { buildCoreHeader } from "../../../src/elfcore/build.ts";
import type { PageModel } from "../../../src/report/page/model.ts";

/** What somebody who wants markup in a page would try, in one string. */
export const HOSTILE = `</script><!--"'><img src=x onerror="document.title='owned'"><svg onload=alert(1)>\u202e\u0000</title></style>&lt;{}`;

/** A header with two notes and so many RAM loads. */
export function buildHeader(loads: number): CoreHeader {
  return buildCoreHeader({
    cpuNotes: [{ paddr: 0x1000n, size: 0x170n }],
    vmcoreinfo: { paddr: 0x2000n, size: 0x1000n },
    kernelText: undefined,
    ram: Array.from({ length: loads }, (_, i) => {
      const start = 0x1_0000_0000n + BigInt(i) * 0x1000_0000n;
      return { start, end: start + 0x800_0000n };
    }),
    pageOffset: 0xffff_8880_0000_0000n,
  });
}

export function hostileModel(text: string): PageModel {
  const intervals = [
    { start: 0, end: 400, condition: "accurate" },
    { start: 400, end: 500, condition: "blind" },
    { start: 500, end: 1000, condition: "stale" },
  ] as const;
  return {
    title: text,
    simulated: text,
    lead: { tone: "bad", text },
    facts: [[text, text]],
    command: text,
    sections: [
      { kind: "timeline", title: text, text, window: 1000, bands: [{ name: text, title: text, intervals }] },
      {
        kind: "map",
        title: text,
        text,
        cellBytes: 2 ** 27,
        regions: [{ start: 0n, cells: 40, title: text }],
        words: { held: text, missing: text, none: text },
        runs: [1, 2].map(() => ({
          name: text,
          initial: new Uint8Array(40),
          labels: [text, `${text} {}`],
          window: 1000,
          intervals,
          steps: [
            { at: 0, label: 0, number: 0, condition: "accurate", changes: [] },
            { at: 10, label: 1, number: 7, condition: "stale", changes: [[3, 2, 6]] },
            { at: 20, label: 1, number: 8, condition: "accurate", changes: [[3, 2, 4]] },
          ],
        })),
      },
      {
        kind: "header",
        title: text,
        text,
        before: { words: text, header: buildHeader(2) },
        after: { words: text, header: buildHeader(3) },
      },
      {
        kind: "distribution",
        title: text,
        text,
        what: text,
        unit: "ms",
        series: [{ name: text, values: [1, 2, 30] }],
      },
      {
        kind: "outcomes",
        title: text,
        text,
        rows: [{ name: text, complete: 3, incomplete: 1, noDump: 1, notComplete95: [0.1, 0.7] }],
      },
      {
        kind: "moments",
        title: text,
        text,
        rows: [
          {
            name: text,
            points: [
              { at: 5, outcome: "complete" },
              { at: 7, outcome: "no-dump" },
            ],
          },
        ],
      },
      {
        kind: "table",
        title: text,
        text,
        head: [text, text],
        rows: [
          [text, { tone: "good", text }],
          [{ code: text }, text],
          [text, text],
        ],
        limit: 2,
      },
      { kind: "notes", title: text, text, notes: [text] },
      { kind: "text", title: text, text, body: text },
    ],
    lacking: [[text, text]],
  };
}
