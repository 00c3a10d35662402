/** Tokens: what a key/value pair stands for, and in which order the tokens of a line are evaluated. */
import type { Operator } from "./lex.ts";
import type { Pattern } from "./pattern.ts";

/**
 * Every kind of token, in the order of evaluation: lines are stably sorted by it, whatever order they were written in
 * (`enum UdevRuleTokenType` and `sort_tokens`; v219 to v257 agree). So PROGRAM runs after every plain match, RESULT is
 * looked at after every PROGRAM and IMPORT, and assignments come last.
 */
export const TOKEN_ORDER = [
  "match-action",
  "match-devpath",
  "match-kernel",
  "match-symlink",
  "match-name",
  "match-env",
  "match-const",
  "match-tag",
  "match-subsystem",
  "match-driver",
  "match-attr",
  "match-sysctl",
  "parent-kernel",
  "parent-subsystem",
  "parent-driver",
  "parent-attr",
  "parent-tag",
  "test",
  "program",
  "import-file",
  "import-program",
  "import-builtin",
  "import-db",
  "import-cmdline",
  "import-parent",
  "match-result",
  "option-string-escape",
  "option-db-persist",
  "option-watch",
  "option-link-priority",
  "option-log-level",
  "set-owner",
  "set-group",
  "set-mode",
  "set-tag",
  "option-static-node",
  "set-seclabel",
  "set-env",
  "set-name",
  "set-symlink",
  "set-attr",
  "set-sysctl",
  "run-builtin",
  "run-program",
] as const;

/** A kind of token. */
export type TokenKind = (typeof TOKEN_ORDER)[number];

/** A token of a line. */
export interface Token {
  readonly kind: TokenKind;
  readonly key: string;
  /** `attribute` of `KEY{attribute}`. */
  readonly attribute: string | undefined;
  /** As it applies: `+=` of a key that cannot be added to has become `=`, any but `!=` of PROGRAM `==`. */
  readonly operator: Operator;
  /** As it applies: of OPTIONS only what follows the `=`. */
  readonly value: string;
  /** As it is written. */
  readonly text: string;
  /** Of a token that matches a string. */
  readonly pattern: Pattern | undefined;
}

const RANK: ReadonlyMap<TokenKind, number> = new Map(TOKEN_ORDER.map((kind, index) => [kind, index]));

/** The tokens in the order of evaluation; equal kinds keep the order in which they were written. */
export function sortTokens(tokens: readonly Token[]): readonly Token[] {
  return [...tokens].sort((a, b) => RANK.get(a.kind)! - RANK.get(b.kind)!);
}

/** Whether the token must hold together with its like on one and the same device. */
export function isParentToken({ kind }: Token): boolean {
  return kind.startsWith("parent-");
}

/** Whether the token asks, and does not do. */
export function isMatchToken({ kind }: Token): boolean {
  return RANK.get(kind)! <= RANK.get("match-result")!;
}

/** Whether the token does something while it is evaluated: assigns, runs, or imports. */
export function hasEffect({ kind }: Token): boolean {
  return kind === "program" || kind.startsWith("import-") || RANK.get(kind)! > RANK.get("match-result")!;
}

/** What must be known of a device so that a token can have an effect on it: the type bits of `UdevRuleLineType`. */
export function needOf({ kind }: Token): "node" | "interface" | "boot" | undefined {
  return NEEDS.get(kind);
}

/** NAME and SYMLINK also as matches: up to v239 a line that has them counts (`can_set_name`). */
export function namesNode(token: Token): boolean {
  const need = needOf(token);
  return need === "node" || need === "interface" || token.key === "NAME" || token.key === "SYMLINK";
}

const NEEDS: ReadonlyMap<TokenKind, "node" | "interface" | "boot"> = new Map([
  ["set-owner", "node"],
  ["set-group", "node"],
  ["set-mode", "node"],
  ["set-symlink", "node"],
  ["set-name", "interface"],
  // Applied when udevd starts, not by events.
  ["option-static-node", "boot"],
]);
