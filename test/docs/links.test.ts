/** Links between documents lead somewhere. */
import { stat } from "node:fs/promises";
import { dirname, join, normalize } from "node:path";
import { expect, test } from "vitest";
import { anchorsOf, type Document, documents, linksOf, ROOT } from "./documents.ts";

const all = await documents();

/** What is wrong with a link; undefined where nothing is. */
async function problem({ path }: Document, href: string): Promise<string | undefined> {
  // Nothing here depends on a page that others keep; and no test asks the network.
  if (/^[a-z]+:/.test(href)) return "leads out of the repository";
  const [file = "", anchor] = href.split("#");
  const target = file === "" ? path : normalize(join(dirname(path), file));
  if (target.startsWith("..")) return "leads out of the repository";
  if (!(await isThere(target))) return `${target} is not there`;
  if (anchor === undefined) return undefined;
  const document = all.find((each) => each.path === target);
  if (!document) return `${target} is no document, and has no #${anchor}`;
  return anchorsOf(document).has(anchor) ? undefined : `${target} has no heading for #${anchor}`;
}

async function isThere(path: string): Promise<boolean> {
  return (await stat(join(ROOT, path)).catch(() => undefined)) !== undefined;
}

test.each(all.map((document) => [document.path, document] as const))(
  "every link of %s leads somewhere",
  async (_path, document) => {
    const problems: string[] = [];
    for (const href of linksOf(document)) {
      const found = await problem(document, href);
      if (found !== undefined) problems.push(`${href}: ${found}`);
    }
    expect(problems).toEqual([]);
  },
);

test("every document can be reached from README.md", () => {
  const seen = new Set(["README.md"]);
  for (const path of seen) {
    const document = all.find((each) => each.path === path);
    for (const href of document ? linksOf(document) : []) {
      const target = normalize(join(dirname(path), href.split("#")[0]!));
      if (href.includes(":") || href.startsWith("#")) continue;
      seen.add(target);
    }
  }
  expect(all.map(({ path }) => path).filter((path) => !seen.has(path))).toEqual([]);
});

test("a link that leads nowhere is found", async () => {
  const document = {
    path: "docs/x.md",
    text: "[a](nothing.md) [b](../README.md#no-such-heading) [c](service.md)",
  };
  expect(await Promise.all(linksOf(document).map(async (href) => await problem(document, href)))).toEqual([
    "docs/nothing.md is not there",
    "README.md has no heading for #no-such-heading",
    undefined,
  ]);
});
