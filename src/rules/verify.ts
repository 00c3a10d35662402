/** What `udevadm verify` (since v254) says beyond what udevd says: style, and lines that cannot do what they say. */
import type { Diagnostic, Severity } from "./diagnostic.ts";
import { lexLine } from "./lex.ts";
import type { RuleFile, RuleLine } from "./parse.ts";
import type { Pattern } from "./pattern.ts";
import type { Token } from "./token.ts";

/**
 * The extra checks on a parsed file, in the order of its lines. Lines that were dropped for an error are not looked at
 * again: verify would also say something about their style up to the error.
 */
export function verifyRules(file: RuleFile): readonly Diagnostic[] {
  const diagnostics: Diagnostic[] = [];
  const referenced = new Set(file.lines.flatMap(({ jump }) => (jump ? [jump.target] : [])));
  file.lines.forEach((line, index) => {
    const say = (severity: Severity, message: string): void =>
      void diagnostics.push({ severity, path: line.path, line: line.number, message });
    for (const message of delimiters(line, file)) say("style", message);
    if (resultBeforeProgram(line, file)) say("warning", "Reordering RESULT check after PROGRAM assignment.");
    if (line.label !== undefined && !referenced.has(index))
      say("style", `style: LABEL="${line.label}" is unused.`);
    const { duplicates, conflicts } = compareTokens(line.tokens);
    if (duplicates) say("warning", "duplicate expressions.");
    if (conflicts) say("error", "conflicting match expressions, the line has no effect.");
  });
  return diagnostics;
}

/** Commas and blanks between pairs (`check_token_delimiters`). */
function delimiters(line: RuleLine, file: RuleFile): readonly string[] {
  const { pairs } = lexLine(line.text, file.dialect);
  const messages: string[] = [];
  let end = 0;
  for (const [i, { start }] of [...pairs, { start: line.text.length }].entries()) {
    const between = line.text.slice(end, start);
    const isLast = i === pairs.length;
    messages.push(...delimiterMessages(between, i === 0, isLast));
    end = isLast ? end : pairs[i]!.end;
  }
  return messages;
}

function delimiterMessages(between: string, isFirst: boolean, isLast: boolean): readonly string[] {
  const commas = between.split(",").length - 1;
  if (isFirst) return commas > 0 ? ["style: stray leading comma."] : [];
  if (isLast) return commas > 0 ? ["style: stray trailing comma."] : [];
  const before = /^[^,]*[ \t][^,]*,/.test(between);
  const after = /,.*[ \t]/.test(between);
  if (commas === 0) {
    const messages = ["style: a comma between tokens is expected."];
    if (between === "") messages.push("style: whitespace between tokens is expected.");
    return messages;
  }
  const messages = commas > 1 ? ["style: more than one comma between tokens."] : [];
  if (before) messages.push("style: stray whitespace before comma.");
  if (!after) messages.push("style: whitespace after comma is expected.");
  return messages;
}

/** In the line as it is written. */
function resultBeforeProgram({ text }: RuleLine, { dialect }: RuleFile): boolean {
  const keys = lexLine(text, dialect).pairs.map(({ key }) => key);
  const result = keys.indexOf("RESULT");
  return result !== -1 && keys.lastIndexOf("PROGRAM") > result;
}

/** Tokens that say the same twice, or the opposite (`udev_check_conflicts_duplicates`). */
function compareTokens(tokens: readonly Token[]): {
  readonly duplicates: boolean;
  readonly conflicts: boolean;
} {
  let duplicates = false;
  let conflicts = false;
  tokens.forEach((token, i) => {
    for (const other of tokens.slice(i + 1)) {
      if (token.kind !== other.kind || token.attribute !== other.attribute) continue;
      if (sameValue(token, other)) {
        const [one, two] = [operatorOf(token), operatorOf(other)];
        if (one === two) duplicates = true;
        else if (isMatching(one) && isMatching(two)) conflicts = true;
      } else if (
        token.pattern &&
        other.pattern &&
        !trimsBlanks(token) &&
        neverBoth(token.pattern, other.pattern)
      )
        conflicts = true;
    }
  });
  return { duplicates, conflicts };
}

function operatorOf({ pattern, operator }: Token): string {
  return pattern?.operator ?? operator;
}

function isMatching(operator: string): boolean {
  return operator === "==" || operator === "!=";
}

function sameValue(token: Token, other: Token): boolean {
  const { pattern: one } = token;
  const { pattern: two } = other;
  if (!one || !two) return token.value === other.value;
  if (one.type !== two.type || one.orEmpty !== two.orEmpty || one.caseInsensitive !== two.caseInsensitive)
    return false;
  if (one.type === "empty" || one.type === "subsystem") return true;
  const mine = new Set(one.alternatives);
  const theirs = new Set(two.alternatives);
  return [...mine].every((value) => theirs.has(value)) && [...theirs].every((value) => mine.has(value));
}

/** Attributes lose blanks before they are compared; verify only looks at matches that compare as they are. */
function trimsBlanks({ kind, value }: Token): boolean {
  return (kind === "match-attr" || kind === "parent-attr") && value !== "" && !/[ \t\n\v\f\r]$/.test(value);
}

/** Two `==` of which no text fulfils both, as far as plain texts and the beginnings of globs tell. */
function neverBoth(one: Pattern, two: Pattern): boolean {
  if (one.operator !== "==" || two.operator !== "==" || one.type !== two.type) return false;
  if (one.orEmpty || two.orEmpty || one.caseInsensitive || two.caseInsensitive) return false;
  if (one.type === "plain") return !one.alternatives.some((value) => two.alternatives.includes(value));
  return one.type === "glob" && !one.alternatives.some((a) => two.alternatives.some((b) => mayShare(a, b)));
}

function mayShare(a: string, b: string): boolean {
  const [one, two] = [prefix(a), prefix(b)];
  const length = Math.min(one.length, two.length);
  return one.slice(0, length) === two.slice(0, length);
}

/** What stands before the first character of a glob. */
function prefix(glob: string): string {
  return /^[^*?[]*/.exec(glob)![0];
}
