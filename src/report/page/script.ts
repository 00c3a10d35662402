/**
 * The page's own script: it steps through the memory maps. It is written here, in this language, and the page gets its
 * text; nothing else runs in a page. It works on what {@link drawMap} has put there, which shows one step without it.
 */
import type { RunData, RunSteps } from "./shared.ts";
import { cellPaths, sizeText, timeText, unpackRun } from "./shared.ts";

/** What of a browser is used; the rest of this program has none. */
interface PageElement {
  textContent: string | null;
  hidden: boolean;
  value: string;
  max: string;
  disabled: boolean;
  readonly dataset: Readonly<Record<string, string | undefined>>;
  setAttribute(name: string, value: string): void;
  addEventListener(type: string, listener: (event: PageEvent) => void): void;
  querySelector(selector: string): PageElement | null;
  querySelectorAll(selector: string): Iterable<PageElement>;
}

interface PageEvent {
  readonly key: string;
  readonly altKey: boolean;
  readonly ctrlKey: boolean;
  readonly metaKey: boolean;
  readonly target: { readonly tagName: string } | null;
  preventDefault(): void;
}

/** A map's data, as {@link drawMap} writes it. */
export interface MapData {
  readonly id: string;
  readonly cellBytes: number;
  readonly columns: number;
  readonly regions: readonly number[];
  readonly classes: number;
  readonly runs: readonly RunData[];
  /** Which step is shown at first, by run. */
  readonly first: readonly number[];
}

interface Tools {
  readonly unpackRun: typeof unpackRun;
  readonly cellPaths: typeof cellPaths;
  readonly sizeText: typeof sizeText;
  readonly timeText: typeof timeText;
}

/** Runs in the page. Uses nothing but its arguments. */
function stepThroughMaps(page: PageElement, tools: Tools): void {
  const need = (root: PageElement, selector: string): PageElement => {
    const found = root.querySelector(selector);
    if (!found) throw new Error(`The page has no ${selector}`);
    return found;
  };
  const data: readonly MapData[] = JSON.parse(need(page, "#page-data").textContent ?? "[]");
  const conditions = ["✓ accurate", "! stale", "✗ blind", "? not known"];
  for (const map of data) {
    const root = need(page, `#${map.id}`);
    const slider = need(root, ".step-slider");
    const select = root.querySelector(".run-select");
    const bands = [...root.querySelectorAll(".map-band")];
    const regions = [...root.querySelectorAll(".map-region")].map((region) => [
      ...region.querySelectorAll("path"),
    ]);
    const unpacked: RunSteps[] = [];
    let run = 0;
    let step = map.first[0] ?? 0;
    const show = (): void => {
      const now = map.runs[run]!;
      const steps = (unpacked[run] ??= tools.unpackRun(now));
      step = Math.max(0, Math.min(steps.count - 1, step));
      const cells = steps.cells(step);
      let from = 0;
      for (const [i, count] of map.regions.entries()) {
        const paths = tools.cellPaths(cells, from, count, map.columns, map.classes);
        for (const [cell, path] of regions[i]!.entries()) path.setAttribute("d", paths[cell]!);
        from += count;
      }
      const counted = Array.from({ length: map.classes }, () => 0);
      for (const cell of cells) counted[cell]! += map.cellBytes;
      const bytes = now.bytes[step] ?? counted;
      for (const cell of root.querySelectorAll("[data-class]"))
        cell.textContent = tools.sizeText(bytes[Number(cell.dataset["class"])] ?? 0);
      const at = steps.at(step);
      const text = `Step ${step + 1} of ${steps.count}${tools.timeText(at, now.window)}: ${steps.text(step)}`;
      const condition = steps.condition(step);
      need(root, ".step-text").textContent = text;
      const badge = need(root, ".condition");
      badge.textContent = conditions[condition]!;
      badge.setAttribute("class", `condition c${condition}`);
      slider.max = String(steps.count - 1);
      slider.value = String(step);
      slider.setAttribute("aria-valuetext", `${text}, ${conditions[condition]!.slice(2)}`);
      for (const [i, band] of bands.entries()) {
        band.hidden = i !== run;
        const x = now.window > 0 ? ((at / now.window) * 480).toFixed(2) : "0";
        for (const line of band.querySelectorAll(".playhead")) {
          line.setAttribute("x1", x);
          line.setAttribute("x2", x);
        }
      }
      for (const button of root.querySelectorAll("button")) {
        const back = button.dataset["go"] === "first" || button.dataset["go"] === "back";
        button.setAttribute("aria-disabled", String(step === (back ? 0 : steps.count - 1)));
      }
    };
    /** The next step, or the last one before, at which it is of another condition. */
    const nextChange = (): number => {
      const steps = unpacked[run]!;
      let next = step + 1;
      while (next < steps.count - 1 && steps.condition(next) === steps.condition(next - 1)) next++;
      return next;
    };
    const go = (where: string): void => {
      const last = unpacked[run]!.count - 1;
      const stride = Math.max(1, Math.round(last / 20));
      const to: Record<string, number> = {
        first: 0,
        back: step - 1,
        next: step + 1,
        last,
        up: step - stride,
        down: step + stride,
        change: where === "change" ? nextChange() : 0,
      };
      step = to[where] ?? step;
      show();
    };
    const keys: Record<string, string> = {
      ArrowLeft: "back",
      ArrowRight: "next",
      ArrowUp: "back",
      ArrowDown: "next",
      Home: "first",
      End: "last",
      PageUp: "up",
      PageDown: "down",
      n: "change",
    };
    root.addEventListener("keydown", (event) => {
      const where = keys[event.key];
      const name = event.target?.tagName;
      // A slider and a list have their own arrow keys.
      if (where === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
      if (name === "INPUT" || name === "SELECT") return;
      event.preventDefault();
      go(where);
    });
    for (const button of root.querySelectorAll("button"))
      button.addEventListener("click", () => go(button.dataset["go"] ?? ""));
    slider.addEventListener("input", () => {
      step = Number(slider.value);
      show();
    });
    select?.addEventListener("change", () => {
      run = Number(select.value);
      step = map.first[run] ?? 0;
      show();
    });
    show();
    need(root, ".controls").hidden = false;
  }
}

/** The script as text. */
export function scriptText(): string {
  const tools = Object.entries({ unpackRun, cellPaths, sizeText, timeText })
    .map(([name, tool]) => `${name}: ${tool.toString()}`)
    .join(",\n");
  return `"use strict";\n(${stepThroughMaps.toString()})(document, {\n${tools}\n});\n`;
}
