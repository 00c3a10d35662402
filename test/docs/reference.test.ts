/** docs/reference is what the program says of itself; `npm run docs:reference` writes it anew. */
import { format } from "prettier";
import { expect, test } from "vitest";
import { commandsPage } from "./reference/command-pages.ts";
import { exitCodesPage } from "./reference/exit-pages.ts";
import { jsonPage } from "./reference/json-pages.ts";
import { journalPage } from "./reference/journal-entries.ts";

test.each([
  ["commands.md", commandsPage],
  ["exit-codes.md", exitCodesPage],
  ["json.md", jsonPage],
  ["journal.md", journalPage],
])(
  "docs/reference/%s is up to date (npm run docs:reference writes it)",
  { timeout: 120_000 },
  async (name, page) => {
    const text = await format(await page(), { parser: "markdown", printWidth: 110 });
    await expect(text).toMatchFileSnapshot(`../../docs/reference/${name}`);
  },
);
