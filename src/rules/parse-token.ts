/** A key/value pair in, a token out, with what udev has to say about it (`parse_token`, `add_rule`). */
import type { Dialect } from "./dialect.ts";
import { parseFormat } from "./format.ts";
import { KEYS, type KeyRule } from "./keys.ts";
import type { Operator, Pair } from "./lex.ts";
import { compilePattern, type Pattern } from "./pattern.ts";
import type { Token, TokenKind } from "./token.ts";

/** What a pair became. */
export type ParsedPair =
  | { readonly kind: "token"; readonly token: Token }
  | { readonly kind: "goto"; readonly label: string }
  | { readonly kind: "label"; readonly label: string }
  /** Nothing: the pair alone is lost. */
  | { readonly kind: "ignored" }
  /** The whole line is lost. */
  | { readonly kind: "invalid" };

/** Takes remarks. */
export type Report = (severity: "error" | "warning", message: string) => void;

const INVALID: ParsedPair = { kind: "invalid" };
const IGNORED: ParsedPair = { kind: "ignored" };

/** Turns `pair` into a token. `text` is the pair as it is written. */
export function parsePair(pair: Pair, text: string, dialect: Dialect, report: Report): ParsedPair {
  const { key } = pair;
  const refused = refusePrefix(pair);
  if (refused !== undefined) {
    report("error", refused);
    return INVALID;
  }
  switch (key) {
    case "GOTO":
    case "LABEL":
      return parseJump(pair, dialect, report);
    case "OPTIONS":
      return parseOption(pair, text, dialect, report);
    case "TEST":
    case "PROGRAM":
    case "IMPORT":
    case "RUN":
      return parseCommand(pair, text, dialect, report);
    default: {
      const rule = KEYS.get(key);
      if (rule && (key !== "CONST" || dialect.constants.length > 0))
        return parsePlain(pair, rule, text, dialect, report);
      report("error", `Invalid key '${key}'.`);
      return INVALID;
    }
  }
}

/** `i"..."` is for keys that compare text, with an operator that compares. */
function refusePrefix({ key, operator, caseInsensitive }: Pair): string | undefined {
  if (!caseInsensitive) return undefined;
  if (operator !== "==" && operator !== "!=")
    return `Invalid prefix 'i' for '${key}'. The 'i' prefix can be specified only for '==' or '!=' operator.`;
  if (key === "TEST" || key === "PROGRAM" || key === "IMPORT") return `Invalid prefix 'i' for ${key}.`;
  return undefined;
}

function invalid(report: Report, what: "attribute" | "operator", key: string): ParsedPair {
  report("error", `Invalid ${what} for ${key}.`);
  return INVALID;
}

function isMatch(operator: Operator): boolean {
  return operator === "==" || operator === "!=";
}

function parsePlain(pair: Pair, rule: KeyRule, text: string, dialect: Dialect, report: Report): ParsedPair {
  const { key, attribute, value } = pair;
  let { operator } = pair;
  if (rule.attribute === "none" ? attribute !== undefined : !attribute)
    return invalid(report, "attribute", key);
  if (key === "CONST" && !dialect.constants.includes(attribute!)) return invalid(report, "attribute", key);
  if (rule.formatInAttribute && dialect.values === "escaped-quote")
    checkFormat(attribute!, `Invalid attribute "${attribute}" for ${key}`, report);
  if (isMatch(operator)) {
    if (!rule.match) return invalid(report, "operator", key);
    remarkOnMatch(pair, report);
    return token(rule.match, pair, operator, text, patternOf(pair, dialect));
  }
  const removes = rule.removes || (key === "SYMLINK" && dialect.removesLinks);
  if (!rule.assign || (operator === "-=" && !removes)) return invalid(report, "operator", key);
  const asAssign = rule.asAssign[operator];
  if (asAssign !== undefined) {
    if (dialect.values === "escaped-quote") report("warning", `${key} ${asAssign}`);
    operator = "=";
  }
  const refused = refuseValue(pair, dialect);
  if (refused !== undefined) {
    report("error", refused);
    return key === "NAME" && dialect.badKind === "token" ? IGNORED : INVALID;
  }
  if (!isPlainMode(key, value)) checkValue(pair, rule.nonEmpty, dialect, report);
  return token(rule.assign, pair, operator, text, undefined);
}

/** Numbers of OWNER, GROUP and MODE are taken as they are. */
function isPlainMode(key: string, value: string): boolean {
  if (key === "MODE") return /^[0-7]+$/.test(value);
  return (key === "OWNER" || key === "GROUP") && /^\d+$/.test(value);
}

function remarkOnMatch({ key, attribute, value }: Pair, report: Report): void {
  if (key === "SUBSYSTEM" && (value === "bus" || value === "class"))
    report("warning", `"${value}" must be specified as "subsystem".`);
  if (key !== "ATTRS") return;
  if (attribute!.startsWith("device/"))
    report("warning", "'device' link may not be available in future kernels.");
  if (attribute!.includes("../"))
    report("warning", "Direct reference to parent sysfs directory, may break in future kernels.");
}

function refuseValue({ key, attribute, value }: Pair, dialect: Dialect): string | undefined {
  if (key === "ENV" && dialect.protectedNames.has(attribute!))
    return `Invalid ENV attribute. '${attribute}' cannot be set.`;
  if (key === "NAME" && value === "%k") return 'Ignoring NAME="%k", as it will take no effect.';
  if (key === "NAME" && value === "")
    return 'Ignoring NAME="", as udev will not delete any network interfaces.';
  return undefined;
}

function parseJump({ key, attribute, operator, value }: Pair, dialect: Dialect, report: Report): ParsedPair {
  // Up to v239 the operator is not looked at, and braces make another, unknown key of it.
  if (attribute !== undefined) return invalid(report, "attribute", key);
  if (operator !== "=" && dialect.values === "escaped-quote") return invalid(report, "operator", key);
  return { kind: key === "GOTO" ? "goto" : "label", label: value };
}

const IMPORTS: Readonly<Record<string, TokenKind>> = {
  file: "import-file",
  program: "import-program",
  builtin: "import-builtin",
  db: "import-db",
  cmdline: "import-cmdline",
  parent: "import-parent",
};

function parseCommand(pair: Pair, text: string, dialect: Dialect, report: Report): ParsedPair {
  const { key, attribute, operator, value } = pair;
  if (key === "TEST") {
    if (attribute && !/^[0-7]{1,4}$/.test(attribute)) {
      report("error", `Failed to parse mode '${attribute}': Invalid argument`);
      return INVALID;
    }
    checkValue(pair, true, dialect, report);
    return isMatch(operator)
      ? token("test", pair, operator, text, undefined)
      : invalid(report, "operator", key);
  }
  if (key === "RUN") {
    if (isMatch(operator) || operator === "-=") return invalid(report, "operator", key);
    checkValue(pair, true, dialect, report);
    if (attribute === undefined || attribute === "program")
      return token("run-program", pair, operator, text, undefined);
    if (attribute !== "builtin") return badKind(`Invalid attribute for ${key}.`, dialect, report);
    return isBuiltin(value, dialect)
      ? token("run-builtin", pair, operator, text, undefined)
      : badKind(`Unknown builtin command '${value}', ignoring.`, dialect, report);
  }
  if (key === "PROGRAM" ? attribute !== undefined : !attribute) return invalid(report, "attribute", key);
  checkValue(pair, true, dialect, report);
  if (operator === "-=") return invalid(report, "operator", key);
  const asked: Operator = operator === "!=" ? "!=" : "==";
  if (key === "PROGRAM") return token("program", pair, asked, text, undefined);
  const kind = Object.hasOwn(IMPORTS, attribute!) ? IMPORTS[attribute!] : undefined;
  if (!kind) return badKind(`Invalid attribute for ${key}.`, dialect, report);
  if (kind === "import-program" && isBuiltin(value, dialect))
    return token("import-builtin", pair, asked, text, undefined);
  if (kind === "import-builtin" && !isBuiltin(value, dialect))
    return badKind(`Unknown builtin command: ${value}`, dialect, report);
  return token(kind, pair, asked, text, undefined);
}

function badKind(message: string, dialect: Dialect, report: Report): ParsedPair {
  report("error", message);
  return dialect.badKind === "token" ? IGNORED : INVALID;
}

/** The first word counts. */
function isBuiltin(command: string, dialect: Dialect): boolean {
  return dialect.builtins.includes(command.split(/[ \t\n\r]/, 1)[0]!);
}

const LOG_LEVELS = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "reset"];

function parseOption(pair: Pair, text: string, dialect: Dialect, report: Report): ParsedPair {
  const { key, attribute, operator, value } = pair;
  if (attribute !== undefined) return invalid(report, "attribute", key);
  if (isMatch(operator) || operator === "-=") return invalid(report, "operator", key);
  const as = (kind: TokenKind, rest: string): ParsedPair =>
    token(kind, { ...pair, value: rest }, operator === ":=" ? ":=" : "=", text, undefined);
  if (value === "string_escape=none" || value === "string_escape=replace")
    return as("option-string-escape", value.slice("string_escape=".length));
  if (value === "db_persist") return as("option-db-persist", "");
  if (value === "watch" || value === "nowatch") return as("option-watch", value);
  if (value.startsWith("static_node=")) return as("option-static-node", value.slice("static_node=".length));
  if (value.startsWith("link_priority=")) {
    const priority = value.slice("link_priority=".length);
    if (isInteger(priority) || dialect.values === "first-quote") return as("option-link-priority", priority);
    report("error", `Failed to parse link priority '${priority}': Invalid argument`);
    return INVALID;
  }
  if (value.startsWith("log_level=") && dialect.logLevelOption) {
    const level = value.slice("log_level=".length);
    if (LOG_LEVELS.includes(level) || /^[0-7]$/.test(level)) return as("option-log-level", level);
    report("error", `Failed to parse log level '${level}': Invalid argument`);
    return INVALID;
  }
  report("warning", `Invalid value for OPTIONS key, ignoring: '${value}'`);
  return IGNORED;
}

/** As safe_atoi() reads it, which takes blanks and the prefixes of C; up to v239 atoi() takes everything. */
function isInteger(text: string): boolean {
  return /^[ \t\n\v\f\r]*[+-]?(?:0[xX][\da-fA-F]{1,7}|\d{1,9})$/.test(text);
}

/** Remarks of `udevadm verify` and of udevd since v243; the value applies all the same. */
function checkValue({ key, value }: Pair, nonEmpty: boolean, dialect: Dialect, report: Report): void {
  // Up to v239 values are not looked at.
  if (dialect.values === "first-quote") return;
  if (nonEmpty && value === "")
    report("error", `Invalid value "" for ${key} (char 0: empty value), ignoring.`);
  else checkFormat(value, `Invalid value "${value}" for ${key}`, report);
}

function checkFormat(value: string, what: string, report: Report): void {
  const { complaint } = parseFormat(value);
  if (complaint) report("error", `${what} (char ${complaint.offset + 1}: ${complaint.hint}), ignoring.`);
}

function patternOf({ key, value, operator, caseInsensitive }: Pair, dialect: Dialect): Pattern {
  const isTag = key === "TAG" || key === "TAGS";
  return compilePattern(value, operator, {
    caseInsensitive,
    alternatives: !isTag || dialect.tagPatterns,
    globs: !isTag || dialect.tagPatterns,
    subsystem: key === "SUBSYSTEM",
  });
}

function token(
  kind: TokenKind,
  { key, attribute, value }: Pair,
  operator: Operator,
  text: string,
  pattern: Pattern | undefined,
): ParsedPair {
  return { kind: "token", token: { kind, key, attribute, operator, value, text, pattern } };
}
