/** Command lines that documents show. */
import { codeBlocksOf, codeSpansOf, type Document } from "./documents.ts";

/** The programs whose command lines are looked at. */
const PROGRAM = /^(?:kdump-hotplug|node dist\/cli\/main\.js|make|npm run|npx vitest)(?: |$)/;

/** Where a shell or a CI service puts a number. */
const VARIABLE = /\$\{\{[^}]*\}\}|\$\(\([^)]*\)\)|\$[A-Z_]+/g;

/** One command line. */
export interface CommandLine {
  /** The document's path. */
  readonly path: string;
  /** As it stands there, without a comment. */
  readonly text: string;
  /** Its words, without quotes. */
  readonly words: readonly string[];
}

/** The command lines of code blocks, in order; a line of a CI's `run:` too, and each command of `a && b`. */
export function commandLinesOf(document: Document): readonly CommandLine[] {
  return codeBlocksOf(document).flatMap((block) =>
    block
      .replaceAll(/\\\n\s*/g, " ")
      .split("\n")
      .flatMap((line) =>
        line
          .trim()
          .replace(/^(?:\$ |- run: |- )/, "")
          .split(" && "),
      )
      .map((line) => withoutComment(line.trim()).replaceAll(VARIABLE, "1"))
      .filter((line) => PROGRAM.test(line))
      .map((text) => ({ path: document.path, text, words: wordsOf(text) })),
  );
}

/** One line for each that `key` takes for the same. */
export function onceEach(
  lines: readonly CommandLine[],
  key: (line: CommandLine) => readonly string[],
): readonly CommandLine[] {
  return [...new Map(lines.map((line) => [key(line).join("\0"), line])).values()];
}

/** What is named within sentences and tables: `kdump-hotplug audit local`, often not a whole command line. */
export function namedCommandsOf(document: Document): readonly CommandLine[] {
  return codeSpansOf(document)
    .map((span) => span.replaceAll("&lt;", "<").replaceAll("&quot;", '"').replaceAll("&#39;", "'"))
    .filter((span) => /^kdump-hotplug [a-z]/.test(span))
    .map((text) => ({ path: document.path, text, words: wordsOf(text) }));
}

function withoutComment(line: string): string {
  return line.replace(/\s+#\s.*$/, "");
}

/** As a shell takes them apart, as far as the documents go: blanks, and quotes of both kinds. */
export function wordsOf(line: string): readonly string[] {
  return [...line.matchAll(/(?:[^\s"']|"[^"]*"|'[^']*')+/g)].map(([word]) =>
    word.replaceAll(
      /"([^"]*)"|'([^']*)'/g,
      (_, double: string | undefined, single: string | undefined) => double ?? single ?? "",
    ),
  );
}

/** What the program is given: `audit local`; undefined for another program. */
export function argumentsOf({ words }: CommandLine): readonly string[] | undefined {
  if (words[0] === "kdump-hotplug") return words.slice(1);
  return words[0] === "node" ? words.slice(2) : undefined;
}
