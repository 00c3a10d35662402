/**
 * Command lines of the documents that are given in a checkout (`make`, `npm run`, `npx vitest`), and who runs each: like
 * in-guests.ts, but for what is not the program itself.
 */
import { relative } from "node:path";
import { argumentsOf, type CommandLine, commandLinesOf, onceEach } from "./command-lines.ts";
import { type Document, documents, ROOT } from "./documents.ts";

/** `make test` runs these itself: they are what it is made of (test/run.mjs). */
const BY_MAKE_TEST = [
  "make test",
  "npx vitest run",
  ...["typecheck", "lint", "format:check"].flatMap((name) => [`npm run -s ${name}`, `npm run ${name}`]),
];
/** These are run in a copy of the checkout, as they change it. */
const IN_A_COPY = "test/program/documented-scripts.test.ts";
const RUN_BY: readonly (readonly [begins: string, test: string])[] = [
  ["make build", IN_A_COPY],
  ["make deb", IN_A_COPY],
  ["make release", IN_A_COPY],
  ["npm run -s build", IN_A_COPY],
  ["npm run bundle", IN_A_COPY],
  ["npm run docs:reference", IN_A_COPY],
  ["npm run bench", IN_A_COPY],
  ["npm run --silent bench", IN_A_COPY],
  ["npm run fuzz", IN_A_COPY],
  ["make demo", "test/real/documented-demo.test.ts"],
];

/** What these documents show, each line once. */
export function checkoutLinesOf(all: readonly Document[]): readonly CommandLine[] {
  const lines = all.flatMap(commandLinesOf).filter((line) => argumentsOf(line) === undefined);
  return onceEach(lines, ({ words }) => words);
}

/** Who runs a line: a test's path, or `make test`; undefined where nobody does. */
export function runnerOf({ words }: CommandLine): string | undefined {
  const line = `${words.join(" ")} `;
  if (BY_MAKE_TEST.some((begins) => line.startsWith(`${begins} `))) return "make test";
  return RUN_BY.find(([begins]) => line.startsWith(`${begins} `))?.[1];
}

/** The words of all lines that the test in `file` has to run. */
export async function checkoutLinesForTest(file: string): Promise<readonly (readonly string[])[]> {
  const path = relative(ROOT, file);
  return checkoutLinesOf(await documents())
    .filter((line) => runnerOf(line) === path)
    .map(({ words }) => words);
}
