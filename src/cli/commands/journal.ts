/** `journal`: what the keeper did, and whether a header was accurate at some time. */
import { Command } from "commander";
import { type Answer, AccuracyQuestion } from "../../keeper/journal/question.ts";
import { readJournal } from "../../keeper/journal/read.ts";
import { accuracyJson, accuracyText, journalEntryText } from "../../report/journal.ts";
import { type Context, printJson } from "../context.ts";
import { EXIT, UsageError } from "../exit.ts";
import { parseTime } from "../options.ts";

/** Where `keep --journal` writes unless told. */
export const JOURNAL_DIRECTORY = "/var/log/kdump-hotplug";

interface JournalOptions {
  readonly directory: string;
  readonly target?: string;
  readonly at?: number;
  readonly since?: number;
  readonly json?: true;
}

/** Lines that are no entries and are named one by one. */
const MAX_NAMED = 8;

export function journalCommand(context: Context, exit: (code: number) => void): Command {
  return new Command("journal")
    .description(
      "print what keep did, or answer whether a header was accurate at some time: 0 accurate, 1 not, 3 cannot be told",
    )
    .option("--directory <dir>", "the journal's directory", JOURNAL_DIRECTORY)
    .option("--target <target>", "only this one, as keep was told it, such as qmp:/run/guest.sock")
    .option("--at <time>", "was the header accurate then? for a post-mortem", parseTime)
    .option("--since <time>", "only entries from then on", parseTime)
    .option("--json", "print the entries as they are, one JSON document a line; with --at one document")
    .action(async (options: JournalOptions) => {
      if (options.at !== undefined && options.since !== undefined)
        throw new UsageError("Give either --at or --since: a question, or a list");
      if (options.at === undefined) await print(context, options);
      else exit(await answer(context, options.at, options));
    });
}

async function print(context: Context, { directory, target, since, json }: JournalOptions): Promise<void> {
  const unreadable = new Unreadable(context);
  for await (const line of readJournal(directory)) {
    context.signal.throwIfAborted();
    if (!("entry" in line)) {
      unreadable.add(line);
      continue;
    }
    const { entry } = line;
    if (target !== undefined && "target" in entry && entry.target !== target) continue;
    if (since !== undefined && Date.parse(entry.at) < since) continue;
    const text = json ? `${JSON.stringify(entry)}\n` : journalEntryText(entry);
    if (text !== undefined) context.print(text);
  }
  unreadable.tell();
}

/** Exit codes of several targets: the worst. */
const CODES: Readonly<Record<Answer, number>> = {
  accurate: EXIT.yes,
  inaccurate: EXIT.no,
  unknown: EXIT.unknown,
};

async function answer(
  context: Context,
  time: number,
  { directory, target, json }: JournalOptions,
): Promise<number> {
  const unreadable = new Unreadable(context);
  const questions = new Map<string, AccuracyQuestion>();
  for (const name of target === undefined ? await targetsOf(directory) : [target])
    questions.set(name, new AccuracyQuestion(name, time));
  for await (const line of readJournal(directory)) {
    context.signal.throwIfAborted();
    if ("entry" in line) for (const question of questions.values()) question.take(line.entry);
    else unreadable.add(line);
  }
  const at = new Date(time).toISOString();
  const answers = [...questions].map(([name, question]) => [name, question.ask()] as const);
  if (json) printJson(context, accuracyJson(at, answers, unreadable.count));
  else for (const [name, found] of answers) context.print(accuracyText(name, at, found));
  unreadable.tell();
  if (answers.length === 0) {
    context.say("The journal has no entry of any target");
    return EXIT.unknown;
  }
  const codes = answers.map(([, found]) => CODES[found.answer]);
  return codes.includes(EXIT.no) ? EXIT.no : Math.max(...codes);
}

/** Every target that the journal has an entry of. */
async function targetsOf(directory: string): Promise<ReadonlySet<string>> {
  const targets = new Set<string>();
  for await (const line of readJournal(directory))
    if ("entry" in line && "target" in line.entry) targets.add(line.entry.target);
  return targets;
}

/** Lines that are no entries: told of after the rest, each by its place. */
class Unreadable {
  count = 0;
  readonly #context: Context;
  readonly #lines: string[] = [];

  constructor(context: Context) {
    this.#context = context;
  }

  add({
    file,
    line,
    unreadable,
  }: {
    readonly file: string;
    readonly line: number;
    readonly unreadable: string;
  }): void {
    this.count++;
    if (this.#lines.length < MAX_NAMED) this.#lines.push(`${file}:${line}: no entry: ${unreadable}`);
  }

  tell(): void {
    for (const line of this.#lines) this.#context.say(line);
    const more = this.count - this.#lines.length;
    if (more > 0) this.#context.say(`${more} more lines are no entries`);
  }
}
