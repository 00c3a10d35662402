import { createHash } from "node:crypto";
import { Script } from "node:vm";
import { describe, expect, test } from "vitest";
import { decodeCoreHeader } from "../../../src/elfcore/decode.ts";
import { encodeCoreHeader } from "../../../src/elfcore/encode.ts";

import { page } from "../../../src/report/page/page.ts";
import { scriptText } from "../../../src/report/page/script.ts";
import type { PageModel } from "../../../src/report/page/model.ts";
import { buildHeader, HOSTILE, hostileModel } from "./hostile-model.ts";

const IMPRINT = { version: "1.2.3", made: new Date("2026-11-29T10:00:00Z") };

const SMALL: PageModel = {
  title: "t",
  lead: { tone: "good", text: "all is well" },
  facts: [["kernel", "6.1"]],
  command: "kdump-hotplug audit local",
  sections: [],
  lacking: [],
};

describe("a page", () => {
  test("loads nothing: no address in it leads anywhere but into the page", () => {
    const text = page(hostileModel("plain"), IMPRINT);
    expect(text).not.toMatch(/\s(?:src|srcset|poster|data|action|formaction|background|ping)=/i);
    for (const [, href] of text.matchAll(/\shref="([^"]*)"/g)) expect(href).toMatch(/^#/);
    expect(text).not.toMatch(/@import|url\((?!#)/);
    expect(text).not.toMatch(/\sstyle=|\son\w+=/i);
  });

  test("lets in its own script and style sheet by their hashes, and nothing else", () => {
    const text = page(hostileModel("plain"), IMPRINT);
    const policy = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(text)![1]!;
    expect(policy).toContain("default-src &#39;none&#39;");
    const scripts = [...text.matchAll(/<script>([\s\S]*?)<\/script>/g)];
    const styles = [...text.matchAll(/<style>([\s\S]*?)<\/style>/g)];
    expect([scripts.length, styles.length]).toEqual([1, 1]);
    for (const [what, [, content]] of [
      ["script-src", scripts[0]!],
      ["style-src", styles[0]!],
    ] as const) {
      const hash = createHash("sha256").update(content!).digest("base64");
      expect(policy).toContain(`${what} &#39;sha256-${hash}&#39;`);
    }
  });

  test("without a map has no script at all", () => {
    const text = page(SMALL, IMPRINT);
    expect(text).not.toContain("<script");
    expect(text).toContain("script-src &#39;none&#39;");
  });

  test("says at its top, and in its title, that it is of a simulation", () => {
    const text = page({ ...SMALL, simulated: "no kernel ran" }, IMPRINT);
    expect(text).toContain("<title>Simulated: t - kdump-hotplug</title>");
    expect(text.indexOf("Simulated: no kernel ran")).toBeLessThan(text.indexOf("all is well"));
    expect(page(SMALL, IMPRINT)).not.toMatch(/simulated:/i);
  });

  test("has the command that repeats it, what was run on what, and what it has no data for", () => {
    const text = page({ ...SMALL, lacking: [["Outcomes", "nobody panicked"]] }, IMPRINT);
    expect(text).toContain("<code>kdump-hotplug audit local</code>");
    expect(text).toMatch(/<dt>kernel<\/dt>\s*<dd>6\.1<\/dd>/);
    expect(text).toMatch(/<dt>Outcomes<\/dt>\s*<dd>nobody panicked<\/dd>/);
    expect(text).toContain("kdump-hotplug 1.2.3, 2026-11-29T10:00:00Z");
  });

  test("is the same text for the same values", () => {
    expect(page(hostileModel("plain"), IMPRINT)).toBe(page(hostileModel("plain"), IMPRINT));
  });
});

function elementsOf(text: string): readonly string[] {
  return text.match(/<\/?[a-z][a-z0-9]*/gi) ?? [];
}

test("strings of a guest's, wherever a page shows them, cannot become markup", () => {
  const text = page(hostileModel(HOSTILE), IMPRINT);
  const harmless = page(hostileModel("plain"), IMPRINT);
  // The same elements in the same order: what was put in has added none and ended none.
  expect(elementsOf(text)).toEqual(elementsOf(harmless));
  expect(text).not.toContain("\u202e");
  expect(text.match(/onerror/g)!.length).toBeGreaterThan(20);
  expect(text).not.toMatch(/<img|<svg onload|<!--/);
});

test("the page's script stands alone, and cannot be ended by what is in it", () => {
  const script = scriptText();
  expect(script).not.toMatch(/<\/script|<!--|\bimport\b|__vite|require\(/);
  // It is a program.
  expect(() => new Script(script)).not.toThrow();
});

describe("a header before and after", () => {
  test("marks the bytes that changed, and no others", () => {
    const before = buildHeader(3);
    const after = buildHeader(4);
    const text = page(
      {
        ...SMALL,
        sections: [
          {
            kind: "header",
            title: "h",
            before: { words: "b", header: before },
            after: { words: "a", header: after },
          },
        ],
      },
      IMPRINT,
    );
    const [from, to] = [encodeCoreHeader(before), encodeCoreHeader(after)];
    const changed = [...to].filter((byte, i) => byte !== from[i]).length;
    const rows = [
      ...text.matchAll(
        /<code>0x[0-9a-f]+<\/code><\/th>\s*<td><code>(.*?)<\/code><\/td>\s*<td><code>(.*?)<\/code>/g,
      ),
    ];
    const marked = rows.flatMap(([, , side]) =>
      [...side!.matchAll(/<mark>(.*?)<\/mark>/g)].flatMap(([, bytes]) => bytes!.split(" ")),
    );
    expect(marked.length).toBe(changed);
    expect(text).toContain(`${changed} bytes differ`);
    expect(text).toContain("file header: e_phnum");
    expect(text).toContain("1 added, 0 removed, 0 changed");
    expect(decodeCoreHeader(to).programHeaders.length).toBe(6);
  });

  test("of thousands of program headers shows those that changed, and says how many it does not show", () => {
    const text = page(
      {
        ...SMALL,
        sections: [
          {
            kind: "header",
            title: "h",
            before: { words: "b", header: buildHeader(3840) },
            after: { words: "a", header: buildHeader(4400) },
          },
        ],
      },
      IMPRINT,
    );
    expect(text.length).toBeLessThan(300_000);
    expect(text).toContain("3840 more without a change");
    expect(text).toContain("more are not shown");
    expect(text).toContain("560 added, 0 removed, 0 changed");
  });
});
