/** The documents of this repository as Markdown: what they link to, and which commands they show. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import GithubSlugger from "github-slugger";
import { marked, type Token, type Tokens } from "marked";

/** The repository. */
export const ROOT: string = fileURLToPath(new URL("../../", import.meta.url));

/** One file. */
export interface Document {
  /** From the root of the repository, such as `docs/model.md`. */
  readonly path: string;
  readonly text: string;
}

/** README.md, CONTRIBUTING.md and everything below docs/. */
export async function documents(): Promise<readonly Document[]> {
  const below = await readdir(join(ROOT, "docs"), { recursive: true });
  const paths = [
    "README.md",
    "CONTRIBUTING.md",
    ...below
      .filter((name) => name.endsWith(".md"))
      .map((name) => `docs/${name}`)
      .sort(),
  ];
  return await Promise.all(
    paths.map(async (path) => ({ path, text: await readFile(join(ROOT, path), "utf8") })),
  );
}

/** Every token of a document, those within others too. */
export function tokensOf({ text }: Document): readonly Token[] {
  const tokens: Token[] = [];
  void marked.walkTokens(marked.lexer(text), (token) => void tokens.push(token));
  return tokens;
}

/** Where its links and pictures lead. */
export function linksOf(document: Document): readonly string[] {
  return tokensOf(document)
    .filter((token): token is Tokens.Link | Tokens.Image => token.type === "link" || token.type === "image")
    .map(({ href }) => href);
}

/** What may follow `#` in a link to it: as GitHub makes them of headings. */
export function anchorsOf(document: Document): ReadonlySet<string> {
  const slugger = new GithubSlugger();
  return new Set(
    tokensOf(document)
      .filter((token): token is Tokens.Heading => token.type === "heading")
      .map(({ tokens }) => slugger.slug(tokens.map(plainText).join(""))),
  );
}

function plainText(token: Token): string {
  if ("tokens" in token && token.tokens) return token.tokens.map(plainText).join("");
  return "text" in token ? String(token.text) : token.raw;
}

/** The text of its code blocks, fenced and indented. */
export function codeBlocksOf(document: Document): readonly string[] {
  return tokensOf(document)
    .filter((token): token is Tokens.Code => token.type === "code")
    .map(({ text }) => text);
}

/** The text of its code in lines. */
export function codeSpansOf(document: Document): readonly string[] {
  return tokensOf(document)
    .filter((token): token is Tokens.Codespan => token.type === "codespan")
    .map(({ text }) => text);
}
