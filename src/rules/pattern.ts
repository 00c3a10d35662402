/** What a match token's value says: alternatives, globs, and the two ways to write "empty" and "not empty". */
import { compileGlob } from "./glob.ts";
import type { Operator } from "./lex.ts";

/** A compiled value. */
export interface Pattern {
  /** What the value was written as: `empty` also stands for `?*`, with the operator turned round. */
  readonly type: "empty" | "plain" | "glob" | "subsystem";
  /** The empty string matches as well, as in `|foo`. */
  readonly orEmpty: boolean;
  /** The alternatives, without empty ones. */
  readonly alternatives: readonly string[];
  readonly caseInsensitive: boolean;
  /** `==` or `!=`, after `?*` was turned into `!= ""`. */
  readonly operator: "==" | "!=";
  /** Whether `text` fulfils value and operator. */
  readonly test: (text: string) => boolean;
}

const GLOB = /[*?[]/;

/** Whether `value` has a character that makes it a glob. */
export function isGlob(value: string): boolean {
  return GLOB.test(value);
}

/** How a value is read. */
export interface PatternOptions {
  readonly caseInsensitive: boolean;
  /** Whether `|` separates alternatives: in all keys but TEST, PROGRAM and IMPORT. */
  readonly alternatives: boolean;
  /** Whether globs are globs: not in TAG up to v239. */
  readonly globs: boolean;
  /** SUBSYSTEM, where `subsystem`, `bus` and `class` are one. */
  readonly subsystem: boolean;
}

/** Compiles `value` (`rule_line_add_token`, `token_match_string`). */
export function compilePattern(value: string, operator: Operator, options: PatternOptions): Pattern {
  const { caseInsensitive } = options;
  let wanted: "==" | "!=" = operator === "!=" ? "!=" : "==";
  let type: Pattern["type"];
  if (options.subsystem && (value === "subsystem" || value === "bus" || value === "class"))
    type = "subsystem";
  else if (value === "") type = "empty";
  else if (value === "?*" && options.globs) {
    type = "empty";
    wanted = wanted === "==" ? "!=" : "==";
  } else type = options.globs && isGlob(value) ? "glob" : "plain";
  const split = options.alternatives ? value.split("|") : [value];
  const alternatives = type === "empty" ? [] : split.filter((alternative) => alternative !== "");
  const orEmpty = type !== "empty" && alternatives.length < split.length;
  const accepts = acceptor(type, type === "subsystem" ? SUBSYSTEMS : alternatives, orEmpty, caseInsensitive);
  const test = wanted === "==" ? accepts : (text: string): boolean => !accepts(text);
  return { type, orEmpty, alternatives, caseInsensitive, operator: wanted, test };
}

const SUBSYSTEMS = ["subsystem", "class", "bus"];

function acceptor(
  type: Pattern["type"],
  alternatives: readonly string[],
  orEmpty: boolean,
  caseInsensitive: boolean,
): (text: string) => boolean {
  if (type === "empty") return (text) => text === "";
  if (type === "glob") {
    const globs = alternatives.map((alternative) => compileGlob(alternative, caseInsensitive));
    return (text) => (orEmpty && text === "") || globs.some((matches) => matches(text));
  }
  if (caseInsensitive) {
    const folded = new Set(alternatives.map((alternative) => alternative.toLowerCase()));
    return (text) => (orEmpty && text === "") || folded.has(text.toLowerCase());
  }
  const [only, ...others] = alternatives;
  if (others.length === 0 && only !== undefined && !orEmpty) return (text) => text === only;
  const all = new Set(orEmpty ? ["", ...alternatives] : alternatives);
  return (text) => all.has(text);
}
