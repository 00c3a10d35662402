/** Pages that `--report` made of real runs, as far as tests ask them. */
import { readFile } from "node:fs/promises";
import * as prettier from "prettier";

/** What a page says. Text is without markup, blanks are single. */
export interface ReportPage {
  readonly title: string;
  readonly lead: { readonly tone: string; readonly text: string };
  /** By their titles, in order. */
  readonly sections: ReadonlyMap<string, ReportSection>;
}

interface ReportSection {
  readonly text: string;
  /** Rows of all of its tables. */
  readonly rows: readonly (readonly string[])[];
  /** Of the memory map's step that is shown, the one that lacks most: what a dump would lack; undefined without a map. */
  readonly missing: string | undefined;
}

export async function readReport(path: string): Promise<ReportPage> {
  return await parseReport(await readFile(path, "utf8"));
}

/** @throws where it is no well-formed page, or not all of itself. */
export async function parseReport(text: string): Promise<ReportPage> {
  // Refuses what is not closed or closed twice, and scripts and style sheets that cannot be read.
  await prettier.format(text, { parser: "html" });
  if (!text.startsWith("<!doctype html>") || !text.trimEnd().endsWith("</html>"))
    throw new Error(`The page is not whole: ${text.slice(0, 60)} ... ${text.slice(-60)}`);
  const leadsOut = /\s(?:src|srcset|data|action)=|\shref="[^#]|@import|url\((?!#)/i.exec(text);
  if (leadsOut) throw new Error(`The page is not all of itself: ${leadsOut[0]}`);
  if (!text.includes("default-src &#39;none&#39;")) throw new Error("The page would let anything in");
  const [, tone = "", lead = ""] = /<p class="lead (\w+)">([^]*?)<\/p>/.exec(text) ?? [];
  const sections = [...text.matchAll(/<section [^>]*>\s*<h2 [^>]*>([^]*?)<\/h2>([^]*?)<\/section>/g)];
  return {
    title: plain(/<h1>([^]*?)<\/h1>/.exec(text)?.[1] ?? ""),
    lead: { tone, text: plain(lead) },
    sections: new Map(sections.map(([, title = "", body = ""]) => [plain(title), sectionOf(body)])),
  };
}

function sectionOf(body: string): ReportSection {
  const rows = [...body.matchAll(/<tr[^>]*>([^]*?)<\/tr>/g)].map(([, row = ""]) =>
    [...row.matchAll(/<t[hd][^>]*>([^]*?)<\/t[hd]>/g)].map(([, cell = ""]) => plain(cell)),
  );
  // The class's place in CELL_CLASSES.
  const missing = /<td data-class="6">([^<]*)<\/td>/.exec(body)?.[1];
  return { text: plain(body), rows, missing: missing === undefined ? undefined : plain(missing) };
}

const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", quot: '"', amp: "&", "#39": "'" };

function plain(markup: string): string {
  return markup
    .replaceAll(/<[^>]*>/g, " ")
    .replaceAll(/&(lt|gt|quot|amp|#39);/g, (_, name: string) => ENTITIES[name]!)
    .replaceAll(/\s+/g, " ")
    .trim();
}
