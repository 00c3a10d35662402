/** One logical line in, key/value pairs out. What the keys mean is not known here. */
import type { Dialect } from "./dialect.ts";
import { unescape } from "./unescape.ts";

/** `==` and `!=` match, the others assign. */
export type Operator = "==" | "!=" | "+=" | "-=" | "=" | ":=";

/** `KEY{attribute} operator "value"`. */
export interface Pair {
  readonly key: string;
  /** What stands in braces; undefined without braces. */
  readonly attribute: string | undefined;
  readonly operator: Operator;
  readonly value: string;
  /** `i"..."`. */
  readonly caseInsensitive: boolean;
  /** Where the pair stands in the line: from its key to behind its closing quote. */
  readonly start: number;
  readonly end: number;
}

/** A line's pairs, and where it stopped making sense. */
export interface LexedLine {
  readonly pairs: readonly Pair[];
  /** Offset of what is no pair; undefined where the whole line could be read. */
  readonly badAt: number | undefined;
}

/** Reads pairs until the end of the line or the first thing that is none. */
export function lexLine(line: string, dialect: Dialect): LexedLine {
  const read = dialect.values === "first-quote" ? readOldPair : readPair;
  const pairs: Pair[] = [];
  for (let at = 0; ;) {
    const start = skip(line, at, `${dialect.blanks},`);
    if (start >= line.length) return { pairs, badAt: undefined };
    const pair = read(line, start, dialect);
    if (!pair) return { pairs, badAt: start };
    pairs.push(pair);
    at = pair.end;
  }
}

function skip(line: string, at: number, characters: string): number {
  while (at < line.length && characters.includes(line[at]!)) at++;
  return at;
}

/** parse_line() since v243. */
function readPair(line: string, start: number, dialect: Dialect): Pair | undefined {
  const { blanks } = dialect;
  let at = start;
  for (; ; at++) {
    const character = line[at];
    if (character === undefined) return undefined;
    if (character === "{" || character === "=" || blanks.includes(character)) break;
    if ("+-!:".includes(character) && line[at + 1] === "=") break;
  }
  const key = line.slice(start, at);
  let attribute: string | undefined;
  if (line[at] === "{") {
    const close = line.indexOf("}", at + 1);
    if (close === -1) return undefined;
    attribute = line.slice(at + 1, close);
    at = close + 1;
  }
  at = skip(line, at, blanks);
  const operator = readOperator(line, at);
  if (!operator) return undefined;
  const value = readValue(line, skip(line, at + operator.length, blanks), dialect);
  return value && { key, attribute, operator, ...value, start };
}

/** get_key() and get_key_attribute() up to v239: the key's end is looked for before its braces are. */
function readOldPair(line: string, start: number, { blanks }: Dialect): Pair | undefined {
  let at = start;
  for (;;) {
    at++;
    const character = line[at];
    if (character === undefined) return undefined;
    if (character === "=" || blanks.includes(character)) break;
    if ("+-!:".includes(character) && line[at + 1] === "=") break;
  }
  const name = line.slice(start, at);
  at = skip(line, at, blanks);
  const operator = readOperator(line, at);
  if (!operator) return undefined;
  const open = skip(line, at + operator.length, blanks);
  if (line[open] !== '"') return undefined;
  const close = line.indexOf('"', open + 1);
  if (close === -1) return undefined;
  const brace = name.indexOf("{");
  const endOfBrace = brace === -1 ? -1 : name.indexOf("}", brace);
  return {
    // A brace that is not closed stays in the key, which is then unknown.
    key: endOfBrace === -1 ? name : name.slice(0, brace),
    attribute: endOfBrace === -1 ? undefined : name.slice(brace + 1, endOfBrace),
    operator,
    value: line.slice(open + 1, close),
    caseInsensitive: false,
    start,
    end: close + 1,
  };
}

function readOperator(line: string, at: number): Operator | undefined {
  switch (line.slice(at, at + 2)) {
    case "==":
      return "==";
    case "!=":
      return "!=";
    case "+=":
      return "+=";
    case "-=":
      return "-=";
    case ":=":
      return ":=";
    default:
      return line[at] === "=" ? "=" : undefined;
  }
}

type Value = Pick<Pair, "value" | "caseInsensitive" | "end">;

/** udev_rule_parse_value() since v243. */
function readValue(line: string, start: number, dialect: Dialect): Value | undefined {
  let at = start;
  let escaped = false;
  let caseInsensitive = false;
  for (; line[at] !== '"'; at++) {
    const prefix = line[at];
    if (prefix === "e" && !escaped && dialect.prefixes.includes("e")) escaped = true;
    else if (prefix === "i" && !caseInsensitive && dialect.prefixes.includes("i")) caseInsensitive = true;
    else return undefined;
  }
  const open = at + 1;
  for (at = open; line[at] !== '"'; at++) {
    // Within e"..." a backslash takes whatever follows with it, else only a quote.
    if (line[at] === "\\" && (escaped || line[at + 1] === '"')) at++;
    if (at >= line.length) return undefined;
  }
  const raw = line.slice(open, at);
  const value = escaped ? unescape(raw) : raw.replaceAll('\\"', '"');
  return value === undefined ? undefined : { value, caseInsensitive, end: at + 1 };
}
