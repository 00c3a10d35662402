/** docs/reference/json.md: the fields of what `--json` prints, found in documents that the commands printed. */
import { type Field, fieldsOf, nestedOf, type ShapeOptions } from "./json-shape.ts";
import { campaignLines, jsonSamples, type Samples } from "./json-samples.ts";
import { DOCUMENTS, type DocumentWords, SHARED, WORDS } from "./json-words.ts";

/** The page, as Markdown. @throws where words are about a field that no document has, or a document within another is none. */
export async function jsonPage(): Promise<string> {
  const samples = new Map([...(await jsonSamples()), ["lab campaign --out", await campaignLines()] as const]);
  check(samples);
  const sections = DOCUMENTS.map((document) => section(document, samples.get(document.name)!));
  return `# What \`--json\` prints

Every command that reports takes \`--json\`: one document on stdout, and nothing else there. \`keep\` prints a stream: one document a line (JSON Lines), as does \`journal --json\`, whose entries are in [journal.md](journal.md). Talk stays on stderr; exit codes are those of the text.

- \`schemaVersion\` is 1 in every document. It changes when a field changes its meaning or goes; fields are added without that, so a reader ignores those that it does not know.
- Addresses are strings in hex (\`0x…\`), for they do not fit a double; a range's \`end\` is exclusive. Sizes are numbers, decimal strings from 2^53 on.
- What is not known is \`null\`. \`simulated\` is there only where it is true.

This page is made by \`npm run docs:reference\`: the commands are run, on simulated machines and copied trees, and what they print is taken apart. A test fails where a field is printed that is not here, or the other way round.
Types are those that were seen there: where one is \`null\` alone, no sample had a value. \`lab fetch --json\` is left out: it lists where what was fetched lies, and its form is not kept.
\`keep local\` prints the same stream as \`keep\`, with \`installed\` as in \`keep local --once\`; \`lab merge\` prints what \`lab campaign\` or \`lab matrix\` would have.

${sections.join("\n")}`;
}

function check(samples: Samples): void {
  const missing = [...samples.keys()].filter((name) => !DOCUMENTS.some((document) => document.name === name));
  if (missing.length > 0) throw new Error(`Nothing is said of ${missing.join(", ")}`);
  const used = new Set<string>();
  for (const document of DOCUMENTS) {
    const found = samples.get(document.name);
    if (!found) throw new Error(`No sample of ${document.name}`);
    for (const { path } of fieldsOf(found, shapeOf(document))) used.add(`${document.name} ${path}`);
    for (const [name, value] of nestedOf(found, shapeOf(document)))
      checkNested(document, name, value, samples);
  }
  const stray = [...WORDS.keys()].filter((key) => !used.has(key));
  if (stray.length > 0) throw new Error(`Words about fields that are not there: ${stray.join(", ")}`);
}

/** A document within another has no field that it has not by itself. */
function checkNested({ name: where }: DocumentWords, name: string, value: unknown, samples: Samples): void {
  const document = DOCUMENTS.find((each) => each.name === name)!;
  const known = new Set(fieldsOf(samples.get(name)!, shapeOf(document)).map(({ path }) => path));
  const stray = fieldsOf([value], shapeOf(document)).filter(({ path }) => !known.has(path));
  if (stray.length > 0)
    throw new Error(`${where}: ${stray.map(({ path }) => path).join(", ")} is no field of ${name}`);
}

function shapeOf({ maps = [], documents = {} }: DocumentWords): ShapeOptions {
  return { maps, documents: new Map(Object.entries(documents)) };
}

function section(document: DocumentWords, samples: readonly unknown[]): string {
  const { name, words, same } = document;
  const fields = fieldsOf(samples, shapeOf(document)).filter(
    ({ path }) => !same || !fieldsOf(samples, shapeOf(document)).some(() => isOf(same, path)),
  );
  const rows = fields.map((field) => row(document, field));
  return `## ${name}\n\n${words}\n\n| field | type | what |\n| --- | --- | --- |\n${rows.join("")}`;
}

/** Whether a field is one of another document, which `same` lists by its first names. */
function isOf(same: readonly string[], path: string): boolean {
  return same.includes(path.split(/[.[]/)[0]!);
}

function row({ name }: DocumentWords, { path, types }: Field): string {
  const words =
    WORDS.get(`${name} ${path}`) ?? SHARED.get(path) ?? SHARED.get(path.replace(/^.*[.\]]/, ".")) ?? "";
  return `| \`${path}\` | ${types.map(typeText).join(" or ")} | ${words.replaceAll("|", "\\|")} |\n`;
}

function typeText(type: string): string {
  const list = "list of ";
  if (type.startsWith(list)) return `${list}${typeText(type.slice(list.length))}`;
  return DOCUMENTS.some(({ name }) => name === type) ? `[${type}](#${type.replaceAll(" ", "-")})` : type;
}
