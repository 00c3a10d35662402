/** Messages that documents quote are still in the program. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Tokens } from "marked";
import { expect, test } from "vitest";
import { type Document, documents, ROOT, tokensOf } from "./documents.ts";

/** Less says nothing: it is anywhere. */
const SHORTEST = 8;

/** Quotations, without the `…` that stands for what differs. */
function quotedIn(document: Document): readonly string[] {
  return tokensOf(document)
    .filter((token): token is Tokens.Blockquote => token.type === "blockquote")
    .flatMap(({ text }) => text.split("…"))
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

/** All source, with strings that are added together as one. */
async function source(): Promise<string> {
  const names = await readdir(join(ROOT, "src"), { recursive: true });
  const texts = await Promise.all(
    names
      .filter((name) => name.endsWith(".ts"))
      .map(async (name) => await readFile(join(ROOT, "src", name), "utf8")),
  );
  return texts.join("\n").replaceAll(/["`]\s*\+\s*["`]/g, "");
}

const all = await documents();
const quoted = all.flatMap((document) => quotedIn(document).map((text) => [text, document.path] as const));

test("troubleshooting quotes messages", () => {
  expect(quoted.filter(([, path]) => path === "docs/troubleshooting.md").length).toBeGreaterThan(40);
});

const program = await source();
test.each(quoted)('"%s" (%s) is a message of the program', (text) => {
  expect(text.length).toBeGreaterThanOrEqual(SHORTEST);
  expect(program.includes(text)).toBe(true);
});
