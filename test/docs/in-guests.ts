/**
 * Command lines of the documents that need a real kernel. Which they are is found in the documents, and the tests on
 * real kernels ask here for theirs: a line that is added to a document is run by them without being listed.
 */
import { relative } from "node:path";
import { argumentsOf, type CommandLine, commandLinesOf, onceEach } from "./command-lines.ts";
import { type Document, documents, ROOT } from "./documents.ts";

/** Lines that begin so, why they are not run on stand-ins, and the test that runs each of them. */
interface InGuests {
  readonly begins: string;
  readonly why: string;
  readonly runBy: string;
}

const LAB = { why: "fetches and boots real kernels", runBy: "test/real/documented-lab.test.ts" };
const LOCAL = { why: "would load a capture kernel here", runBy: "test/real/keep-local.test.ts" };
const IN_GUESTS: readonly InGuests[] = [
  { begins: "lab fetch", ...LAB },
  { begins: "lab run", ...LAB },
  { begins: "lab campaign", ...LAB },
  { begins: "lab matrix", ...LAB },
  { begins: "keep local", ...LOCAL },
  { begins: "load local", ...LOCAL },
];

/** Options with which a command neither boots nor loads anything. */
const HARMLESS = ["--help", "--install", "--uninstall"];

/** What is given to the program in these documents, each line once. The reference has forms, no command lines. */
export function programLinesOf(all: readonly Document[]): readonly CommandLine[] {
  const lines = all
    .filter(({ path }) => !path.startsWith("docs/reference/"))
    .flatMap(commandLinesOf)
    .filter((line) => argumentsOf(line) !== undefined);
  return onceEach(lines, (line) => argumentsOf(line)!);
}

/** Who runs a line in guests; undefined for one that needs none. */
export function inGuests(args: readonly string[]): InGuests | undefined {
  if (HARMLESS.some((option) => args.includes(option))) return undefined;
  return IN_GUESTS.find(({ begins }) => `${args.join(" ")} `.startsWith(`${begins} `));
}

/** The arguments of all lines that the test in `file` has to run. */
export async function linesForTest(file: string): Promise<readonly (readonly string[])[]> {
  const path = relative(ROOT, file);
  return programLinesOf(await documents())
    .map((line) => argumentsOf(line)!)
    .filter((args) => inGuests(args)?.runBy === path);
}
