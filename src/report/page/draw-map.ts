/** Physical memory as a map of cells. One step of it is drawn here; the page's script draws the others. */
import { bandSvg } from "./draw-timeline.ts";
import { html, type Markup, trusted } from "./markup.ts";
import { CELL_CLASSES, type Drawn, type MapRun, type MapSection } from "./model.ts";
import { CONDITIONS, countBytes, packRun, worstStep } from "./pack.ts";
import type { MapData } from "./script.ts";
import { cellPaths, type RunSteps, sizeText, timeText, unpackRun } from "./shared.ts";
import { toned } from "./draw-table.ts";

/** Cells of a row: few are large enough for a thumb, many still fit a screen. */
function columnsFor(cells: number): number {
  return cells <= 256 ? 32 : cells <= 1024 ? 64 : 128;
}

const BADGES = ["✓ accurate", "! stale", "✗ blind", "? not known"];

/** @param id - of the element, unique in the page. */
export function drawMap(map: MapSection, id: string): Drawn {
  const { cellBytes, regions, runs, words } = map;
  const total = regions.reduce((sum, { cells }) => sum + cells, 0);
  const columns = columnsFor(total);
  const packed = runs.map(packRun);
  const unpacked = packed.map(unpackRun);
  const first = unpacked.map((steps, i) => worstStep(steps, runs[i]!, cellBytes));
  const data: MapData = {
    id,
    cellBytes,
    columns,
    regions: regions.map(({ cells }) => cells),
    classes: CELL_CLASSES.length,
    runs: packed,
    first,
  };
  const [steps] = unpacked;
  const [run] = packed;
  const step = first[0]!;
  const cells = steps!.cells(step);
  const bytes = run!.bytes[step] ?? countBytes(cells, cellBytes);
  const condition = steps!.condition(step);
  let from = 0;
  const drawn = regions.map(({ start, cells: count, title }) => {
    const svg = regionSvg(cells, from, count, columns);
    from += count;
    return html`<div class="map-region">
      <p class="region-name">
        ${title === undefined ? "" : `${title}: `}<code>0x${start.toString(16)}</code> to
        <code>0x${(start + BigInt(count) * BigInt(cellBytes)).toString(16)}</code>
      </p>
      ${svg}
    </div>`;
  });
  const present = CELL_CLASSES.map((name, i) => ({ name, i, text: words[name] })).filter(
    (each) => each.text !== undefined,
  );
  return {
    data,
    body: html`<figure id="${id}" class="map" role="group" aria-labelledby="${id}-name" tabindex="0">
        <span id="${id}-name" class="sr"
          >Memory map; arrow keys step through the events, Home and End go to the first and the last, n to the
          next change between blind, stale and accurate</span
        >
        <div class="controls" hidden>
          ${
            runs.length > 1
              ? html`<label
                  >Show
                  <select class="run-select">
                    ${runs.map(({ name }, i) => html`<option value="${i}">${name}</option>`)}
                  </select></label
                >`
              : ""
          }
          <div class="buttons">${BUTTONS}</div>
          <input
            class="step-slider"
            type="range"
            min="0"
            max="${steps!.count - 1}"
            value="${step}"
            aria-label="Step"
          />
        </div>
        ${runs.map(({ intervals, window, name }, i) =>
          intervals === undefined || window === undefined || window === 0
            ? html`<div class="map-band" ${trusted(i > 0 ? " hidden" : "")}></div>`
            : html`<div class="map-band" ${trusted(i > 0 ? " hidden" : "")}>
                ${bandSvg({ name, intervals }, window, true)}
              </div>`,
        )}
        <p class="step">
          <output class="step-text"
            >Step ${step + 1} of ${steps!.count}${timeText(steps!.at(step), run!.window)}:
            ${steps!.text(step)}</output
          >
          <span class="condition c${condition}">${BADGES[condition]}</span>
        </p>
        <div class="scroll-map">${drawn}</div>
        <table class="counts">
          <caption>
            Memory at this step; a cell is ${sizeText(cellBytes)}
          </caption>
          <thead>
            <tr>
              <td></td>
              <th scope="col">what</th>
              <th scope="col">bytes</th>
            </tr>
          </thead>
          <tbody>
            ${present.map(
              ({ name, i, text }) =>
                html`<tr>
                  <td>
                    <svg class="swatch" aria-hidden="true" viewBox="0 0 10 10">
                      <rect class="m-${name}" width="10" height="10" />
                    </svg>
                  </td>
                  <th scope="row">${text}</th>
                  ${name === "none" ? html`<td></td>` : html`<td data-class="${i}">${sizeText(bytes[i]!)}</td>`}
                </tr>`,
            )}
          </tbody>
        </table>
      </figure>
      ${stepTable(unpacked[0]!, runs[0]!)}`,
  };
}

const BUTTONS: Markup = html`${[
    ["first", "|◀", "First step"],
    ["back", "◀", "Step back"],
    ["next", "▶", "Step on"],
    ["last", "▶|", "Last step"],
  ].map(
    ([go, sign, words]) =>
      html`<button type="button" data-go="${go}" aria-label="${words}" title="${words}">
        <span aria-hidden="true">${sign}</span>
      </button>`,
  )}<button type="button" data-go="change">Next change of condition</button>`;

function regionSvg(cells: Uint8Array, from: number, count: number, columns: number): Markup {
  const rows = Math.ceil(count / columns);
  const paths = cellPaths(cells, from, count, columns, CELL_CLASSES.length);
  const width = Math.min(columns, count);
  return html`<svg
    class="cells w${columns}"
    viewBox="0 0 ${columns * 10} ${rows * 10}"
    role="img"
    aria-label="${width} cells in a row; the table below says how much is what"
  >
    ${paths.map((path, i) => html`<path class="m-${CELL_CLASSES[i]}" d="${path}" />`)}
  </svg>`;
}

/** Steps beyond it are told by the map alone. */
const STEPS_SHOWN = 60;

function stepTable(steps: RunSteps, { name, window }: MapRun): Markup {
  const count = Math.min(STEPS_SHOWN, steps.count);
  const rows = Array.from({ length: count }, (_, step) => {
    const condition = steps.condition(step);
    return html`<tr>
      <th scope="row">${step + 1}</th>
      <td>${window === undefined ? "" : `${(steps.at(step) / 1000).toFixed(3)} s`}</td>
      <td>${steps.text(step)}</td>
      <td>
        ${toned((["good", "doubt", "bad", "unknown"] as const)[condition]!, CONDITIONS[condition] ?? "not known")}
      </td>
    </tr> `;
  });
  const some =
    count < steps.count
      ? `the first ${count} of ${steps.count} steps`
      : count === 1
        ? "its one step"
        : `all ${count} steps`;
  return html`<details>
    <summary>${name === "" ? "" : `${name}: `}${some} as a table</summary>
    <div class="scroll" tabindex="0" role="group" aria-label="Steps">
      <table>
        <caption>
          ${name === "" ? "Steps" : `Steps of ${name}`}
        </caption>
        <thead>
          <tr>
            <th scope="col">step</th>
            <th scope="col">time</th>
            <th scope="col">what happened</th>
            <th scope="col">then it is</th>
          </tr>
        </thead>
        <tbody>
          ${rows}
        </tbody>
      </table>
    </div>
  </details>`;
}
