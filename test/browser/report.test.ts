/** Reports as people meet them: in a browser, in light and dark, by keyboard, on a phone, on paper. */
import { readFile, stat, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import type { AxeResults, RunOptions } from "axe-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { page as drawPage } from "../../src/report/page/page.ts";
import { HOSTILE, hostileModel } from "../report/page/hostile-model.ts";
import { Browser } from "./pages.ts";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

/** One DIMM of one block: plugged, described, added, online. */
const THREE_EVENTS = {
  schemaVersion: 1,
  name: "three-events",
  title: "one block comes",
  bootMemory: "1G",
  steps: [{ plug: "128M" }],
};

let browser: Browser;
const pages = new Map<string, string>();
/** What each page is made by. */
const COMMANDS: Readonly<Record<string, (file: string) => readonly string[]>> = {
  "three events": (file) => ["simulate", file, "--policy", "in-place", "--policy", "rhel7"],
  "3,840 blocks": () => ["simulate", "rfc"],
  "a campaign": () => [
    "lab",
    "merge",
    join(import.meta.dirname, "../../docs/campaign-2026-11-28/others.jsonl"),
  ],
  "an audit": () => ["audit", "sim:6.1,dimm=1G"],
};
const NAMES = Object.keys(COMMANDS);

beforeAll(async () => {
  browser = await Browser.open();
  const scenario = join(browser.directory, "three.json");
  await writeFile(scenario, JSON.stringify(THREE_EVENTS));
  await Promise.all(
    Object.entries(COMMANDS).map(async ([name, args], i) =>
      pages.set(name, await browser.report(`${i}.html`, ...args(scenario))),
    ),
  );
}, 120_000);
afterAll(async () => browser[Symbol.asyncDispose]());

describe.each(NAMES)("the page of %s", (name) => {
  test("has nothing against it, in light and in dark", async () => {
    await using shown = await browser.show(pages.get(name)!);
    const { page, complaints } = shown;
    // What is closed is looked at too.
    await page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })");
    // The page's own policy lets nothing in: this goes past it, by the debugger.
    await page.evaluate(await readFile(AXE, "utf8"));
    const all: RunOptions = { resultTypes: ["violations"] };
    // Between the two nothing differs but colours.
    const colours: RunOptions = { ...all, runOnly: { type: "rule", values: ["color-contrast"] } };
    for (const [colorScheme, options] of [
      ["light", all],
      ["dark", colours],
    ] as const) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      const { violations } = await page.evaluate<AxeResults>(`axe.run(document, ${JSON.stringify(options)})`);
      expect(
        violations.map(({ id, help, nodes }) => [
          colorScheme,
          id,
          help,
          ...nodes.slice(0, 3).map(({ html }) => html),
        ]),
      ).toEqual([]);
    }
    expect(complaints).toEqual([]);
  });

  test("is no wider than a screen of 320, 390 and 1,200 pixels", async () => {
    await using shown = await browser.show(pages.get(name)!, 1200);
    for (const width of [320, 390, 1200]) {
      await shown.page.setViewportSize({ width, height: 800 });
      expect(await shown.page.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(width);
    }
    expect(shown.complaints).toEqual([]);
  });

  test("prints, in light and no wider than the paper, without what is for clicking", async () => {
    await using shown = await browser.show(pages.get(name)!, 718);
    const { page } = shown;
    await page.emulateMedia({ colorScheme: "dark" });
    const file = join(browser.directory, "page.pdf");
    await page.pdf({ path: file, format: "A4" });
    expect((await readFile(file)).subarray(0, 5).toString()).toBe("%PDF-");
    expect((await stat(file)).size).toBeGreaterThan(20_000);
    await page.emulateMedia({ media: "print", colorScheme: "dark" });
    expect(await page.evaluate("getComputedStyle(document.body).backgroundColor")).toBe("rgb(255, 255, 255)");
    expect(await page.locator(".controls").first().isVisible()).toBe(false);
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(718);
    expect(shown.complaints).toEqual([]);
  });
});

/** What a map shows, and what it says of it. */
const LOOK = `(() => {
  const map = document.querySelector(".map");
  const text = (selector) => map.querySelector(selector).textContent.trim();
  return {
    paths: [...map.querySelectorAll(".cells path")].map((path) => path.getAttribute("d")).join("|"),
    step: text(".step-text"),
    condition: text(".condition"),
    missing: text("[data-class='6']"),
    value: map.querySelector(".step-slider").value,
  };
})()`;

interface Look {
  readonly paths: string;
  readonly step: string;
  readonly condition: string;
  readonly missing: string;
  readonly value: string;
}

describe("a memory map", () => {
  test("is stepped through by arrow keys, Home and End, and changes", async () => {
    await using shown = await browser.show(pages.get("three events")!);
    const { page } = shown;
    await page.locator(".run-select").selectOption({ label: "rhel7" });
    await page.locator(".map").focus();
    await page.keyboard.press("Home");
    const looks: Look[] = [await page.evaluate<Look>(LOOK)];
    const count = Number(/of (\d+)/.exec(looks[0]!.step)![1]);
    for (let i = 1; i < count; i++) {
      await page.keyboard.press("ArrowRight");
      looks.push(await page.evaluate<Look>(LOOK));
    }
    expect(looks.map(({ value }) => Number(value))).toEqual(Array.from({ length: count }, (_, i) => i));
    const online = looks.find(({ step }) => step.includes("comes online"))!;
    expect([online.condition, online.missing]).toEqual(["! stale", "128 MiB"]);
    expect(looks.find(({ condition }) => condition === "✗ blind")!.step).toContain("unloaded");
    expect([looks.at(-1)!.condition, looks.at(-1)!.missing]).toEqual(["✓ accurate", "0"]);
    expect(new Set(looks.map(({ paths }) => paths)).size).toBeGreaterThanOrEqual(4);
    // Back is the same way.
    for (const look of looks.slice(0, -1).toReversed()) {
      await page.keyboard.press("ArrowLeft");
      expect(await page.evaluate<Look>(LOOK)).toEqual(look);
    }
    await page.keyboard.press("End");
    expect(await page.evaluate<Look>(LOOK)).toEqual(looks.at(-1));
    expect(shown.complaints).toEqual([]);
  });

  test("is stepped through by its buttons and its slider, and shows who has the keyboard", async () => {
    await using shown = await browser.show(pages.get("three events")!);
    const { page } = shown;
    await page.getByRole("button", { name: "First step" }).first().click();
    const first = await page.evaluate<Look>(LOOK);
    await page.getByRole("button", { name: "Step on" }).first().press("Enter");
    const second = await page.evaluate<Look>(LOOK);
    expect([first.value, second.value]).toEqual(["0", "1"]);
    const slider = page.getByRole("slider").first();
    await slider.press("ArrowRight");
    expect((await page.evaluate<Look>(LOOK)).value).toBe("2");
    expect(await slider.getAttribute("aria-valuetext")).toMatch(/^Step 3 of \d+ at [\d.]+ s: /);
    await page.locator(".map").first().focus();
    await page.keyboard.press("Tab");
    const outline = await page.evaluate("getComputedStyle(document.activeElement).outlineWidth");
    expect(outline).toBe("3px");
  });

  test("draws its first step the same with the page's script and without", async () => {
    await using shown = await browser.show(pages.get("3,840 blocks")!);
    const drawn = await shown.page.evaluate<Look>(LOOK);
    const text = await readFile(pages.get("3,840 blocks")!, "utf8");
    const map = text.slice(
      text.indexOf('class="map"'),
      text.indexOf("</figure>", text.indexOf('class="map"')),
    );
    const cells = map.slice(map.indexOf("map-region"));
    expect([...cells.matchAll(/ d="([^"]*)"/g)].map(([, d]) => d).join("|")).toBe(drawn.paths);
  });

  test("of 3,840 blocks is stepped through fast, from one end to the other", async () => {
    await using shown = await browser.show(pages.get("3,840 blocks")!);
    const { page } = shown;
    const timing = await page.evaluate<{
      readonly load: number;
      readonly step: number;
      readonly steps: number;
    }>(`(() => {
      const map = document.querySelector(".map");
      const slider = map.querySelector(".step-slider");
      const load = performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd;
      const steps = Number(slider.max) + 1;
      const began = performance.now();
      for (let i = 0; i < 200; i++) {
        slider.value = String(Math.floor((i * 7919) % steps));
        slider.dispatchEvent(new Event("input"));
      }
      return { load, steps, step: (performance.now() - began) / 200 };
    })()`);
    console.log(
      `3,840 blocks: ${(await stat(pages.get("3,840 blocks")!)).size} bytes, ${timing.load.toFixed(0)} ms until the page is there, ${timing.step.toFixed(1)} ms for any of ${timing.steps} steps`,
    );
    expect(timing.steps).toBeGreaterThan(3840);
    expect(timing.step).toBeLessThan(100);
    expect((await stat(pages.get("3,840 blocks")!)).size).toBeLessThan(2 * 2 ** 20);
    expect((await stat(pages.get("three events")!)).size).toBeLessThan(100_000);
  });
});

test("strings of a guest's do nothing in a page, and are shown as they are", async () => {
  const path = join(browser.directory, "hostile.html");
  await writeFile(path, drawPage(hostileModel(HOSTILE), { version: "1", made: new Date(0) }));
  await using shown = await browser.show(path);
  const { page, complaints } = shown;
  await page.locator(".map").focus();
  await page.keyboard.press("ArrowRight");
  expect(await page.title()).toContain("onerror=");
  expect(await page.evaluate("document.querySelectorAll('img, iframe, object, embed').length")).toBe(0);
  expect(await page.locator("h1").textContent()).toContain("</script><!--");
  expect(complaints).toEqual([]);
});

test("markup that got in all the same could neither run nor load anything", async () => {
  const path = join(browser.directory, "injected.html");
  const text = await readFile(pages.get("three events")!, "utf8");
  const injected = `<script>document.title = "owned"</script><img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" onerror="document.title='owned'"><style>body{display:none}</style>`;
  await writeFile(path, text.replace("<h1>", `${injected}<h1>`));
  await using shown = await browser.show(path);
  expect(await shown.page.title()).not.toBe("owned");
  expect(await shown.page.locator("body").isVisible()).toBe(true);
  expect(
    shown.complaints.filter((complaint) => complaint.includes("Content Security Policy")).length,
  ).toBeGreaterThan(2);
});
