/**
 * Physical memory as characters, for people on a console at night. Plain ASCII and without colour: it is read on
 * serial consoles, in logs and in mails, and means the same on all of them.
 */
import { CELL_CLASSES, type CellClass, type MapRun, type MapSection } from "./page/model.ts";
import { sizeText, unpackRun } from "./page/shared.ts";
import { packRun, worstStep } from "./page/pack.ts";

const SIGNS: Readonly<Record<CellClass, string>> = {
  none: " ",
  backed: "-",
  described: "o",
  crash: "c",
  held: ".",
  stale: "S",
  missing: "M",
};

/** Cells of a line. */
const COLUMNS = 64;

/** Each run at its worst step and at its last; where they are one, once. */
export function memoryMapText(map: MapSection): string {
  return `${map.runs.map((run) => runText(map, run)).join("\n")}${legendText(map)}`;
}

function runText({ regions, cellBytes }: MapSection, run: MapRun): string {
  const steps = unpackRun(packRun(run));
  const last = steps.count - 1;
  return [...new Set([worstStep(steps, run, cellBytes), last])]
    .map((step) => {
      const cells = steps.cells(step);
      const name = run.name === "" ? "" : `${run.name}, `;
      const time = run.window === undefined ? "" : ` at ${(steps.at(step) / 1000).toFixed(1)} s`;
      let from = 0;
      const lines = regions.map(({ start, cells: count }) => {
        const text = regionText(cells.subarray(from, from + count), start, BigInt(cellBytes));
        from += count;
        return text;
      });
      return `${name}${steps.text(step)}${time}\n${lines.join("")}`;
    })
    .join("");
}

/** Lines of one stretch; of many that are alike the first one, and how many there are. */
function regionText(cells: Uint8Array, start: bigint, cellBytes: bigint): string {
  const lines: string[] = [];
  let alike = 0;
  let before = "";
  const close = (): void => {
    if (alike > 0) lines.push(`${"".padEnd(16)}  ${alike} more ${alike === 1 ? "line" : "lines"} like it\n`);
    alike = 0;
  };
  for (let i = 0; i < cells.length; i += COLUMNS) {
    const line = Array.from(cells.subarray(i, i + COLUMNS), (cell) => SIGNS[CELL_CLASSES[cell]!]).join("");
    if (line === before) {
      alike++;
      continue;
    }
    close();
    before = line;
    lines.push(`  0x${(start + BigInt(i) * cellBytes).toString(16).padStart(12, "0")}  |${line}|\n`);
  }
  close();
  return lines.join("");
}

function legendText({ words, cellBytes }: MapSection): string {
  const signs = CELL_CLASSES.flatMap((name) => {
    const text = words[name];
    return text === undefined ? [] : [`  ${name === "none" ? "blank" : `${SIGNS[name]}    `}  ${text}\n`];
  });
  return `\nA character is ${sizeText(cellBytes)}\n${signs.toReversed().join("")}`;
}
