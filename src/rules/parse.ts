/** A file of rules in; its lines, with GOTOs resolved, and what udev says about it, out. */
import { type Dialect, NEWEST } from "./dialect.ts";
import type { Diagnostic, Severity } from "./diagnostic.ts";
import { type LexedLine, lexLine } from "./lex.ts";
import { type LogicalLine, splitLines } from "./lines.ts";
import { parsePair } from "./parse-token.ts";
import type { RuleSource } from "./source.ts";
import { hasEffect, sortTokens, type Token } from "./token.ts";

/** A line that udev keeps. */
export interface RuleLine {
  readonly path: string;
  /** As udev counts: the last physical line, from 1. */
  readonly number: number;
  /** The logical line, as it is written. */
  readonly text: string;
  /** In the order of evaluation. */
  readonly tokens: readonly Token[];
  /** The last LABEL. */
  readonly label: string | undefined;
  /** The first GOTO that leads somewhere. */
  readonly jump: Jump | undefined;
}

/** Where a line leads once it has matched. */
export interface Jump {
  readonly label: string;
  /** Index of the line in its file; always behind the line that jumps. */
  readonly target: number;
}

/** A file of rules, parsed. */
export interface RuleFile {
  readonly path: string;
  readonly dialect: Dialect;
  readonly lines: readonly RuleLine[];
  readonly diagnostics: readonly Diagnostic[];
}

/** A line before its jump is resolved. */
interface Draft extends LogicalLine {
  readonly lexed: LexedLine;
  readonly tokens: readonly Token[];
  readonly label: string | undefined;
  readonly goto: string | undefined;
}

/**
 * Parses one file as the udev of `dialect` does. Never throws: what udev drops is dropped, what it cuts is cut, and
 * each is reported with file and line.
 */
export function parseRules(source: RuleSource, dialect: Dialect = NEWEST): RuleFile {
  const { path } = source;
  const { lines, diagnostics: found, complete } = splitLines(path, source.text, dialect);
  const diagnostics: Diagnostic[] = [...found];
  const say = (severity: Severity, line: number, message: string): void =>
    void diagnostics.push({ severity, path, line, message });
  const drafts = lines
    .map((line) => readLine(line, dialect, (severity, message) => say(severity, line.number, message)))
    .filter((draft) => draft !== undefined);
  return { path, dialect, lines: resolve(path, drafts, complete, say), diagnostics };
}

/** @returns undefined where the line is dropped. */
function readLine(
  line: LogicalLine,
  dialect: Dialect,
  say: (severity: "error" | "warning", message: string) => void,
): Draft | undefined {
  const lexed = lexLine(line.text, dialect);
  const tokens: Token[] = [];
  let label: string | undefined;
  let goto: string | undefined;
  for (const pair of lexed.pairs) {
    const parsed = parsePair(pair, line.text.slice(pair.start, pair.end), dialect, say);
    switch (parsed.kind) {
      case "token":
        tokens.push(parsed.token);
        break;
      case "goto":
        if (goto === undefined) goto = parsed.label;
        else say("warning", `Contains multiple GOTO keys, ignoring GOTO="${parsed.label}".`);
        break;
      case "label":
        if (label !== undefined) say("warning", `Contains multiple LABEL keys, ignoring LABEL="${label}".`);
        label = parsed.label;
        break;
      case "ignored":
        break;
      case "invalid":
        return undefined;
    }
  }
  if (lexed.badAt !== undefined) {
    const where = `at character ${lexed.badAt + 1}`;
    const hint = line.text[lexed.badAt] === "#" ? " Comments can only start at the beginning of a line." : "";
    if (dialect.badPair === "drop") {
      say("error", `Invalid key/value pair ${where}, ignoring.${hint}`);
      return undefined;
    }
    say("error", `Invalid key/value pair ${where}, the rest of the line is ignored.${hint}`);
  }
  if (label === undefined && goto === undefined && !tokens.some(hasEffect)) {
    if (dialect.values === "escaped-quote") say("warning", "The line has no effect, ignoring.");
    return undefined;
  }
  return { ...line, lexed, tokens: sortTokens(tokens), label, goto };
}

/** GOTO leads to the first later line of the file that has the label (`rule_resolve_goto`). */
function resolve(
  path: string,
  drafts: readonly Draft[],
  complete: boolean,
  say: (severity: Severity, line: number, message: string) => void,
): readonly RuleLine[] {
  const kept = drafts.map((draft) => ({ draft, lost: false, cleared: false }));
  // From the end on, so that each label's next place is known without looking for it.
  const next = new Map<string, number>();
  const targets: (number | undefined)[] = Array.from({ length: kept.length });
  for (let i = kept.length - 1; i >= 0; i--) {
    const { draft } = kept[i]!;
    targets[i] = draft.goto === undefined || !complete ? undefined : next.get(draft.goto);
    if (draft.label !== undefined) next.set(draft.label, i);
  }
  const passed = new Set<string>();
  kept.forEach((entry, i) => {
    const { draft } = entry;
    if (draft.label !== undefined) passed.add(draft.label);
    if (draft.goto === undefined || targets[i] !== undefined) return;
    if (!complete) {
      say("error", draft.number, `GOTO="${draft.goto}" leads nowhere: the file was given up before its end.`);
      return;
    }
    const why = passed.has(draft.goto) ? " behind it (GOTO leads forward only)" : "";
    say("error", draft.number, `GOTO="${draft.goto}" has no matching label${why}, ignoring.`);
    if (draft.tokens.some(hasEffect)) return;
    say("warning", draft.number, "The line has no effect any more, dropping.");
    entry.lost = draft.label === undefined;
    // Only its label is left.
    entry.cleared = !entry.lost;
  });
  // Lines that went away are no targets (they have no label), so that targets only move up.
  const position = positions(kept.map(({ lost }) => lost));
  return kept.flatMap(({ draft, lost, cleared }, i) => {
    if (lost) return [];
    const target = targets[i];
    const jump = target === undefined ? undefined : { label: draft.goto!, target: position[target]! };
    const { number, text, label } = draft;
    const tokens = cleared ? [] : draft.tokens;
    return [{ path, number, text, tokens, label, jump }];
  });
}

/** Index of each entry once those that are lost are gone. */
function positions(lost: readonly boolean[]): readonly number[] {
  let at = 0;
  return lost.map((gone) => (gone ? at : at++));
}
