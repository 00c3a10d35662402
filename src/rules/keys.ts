/** What each key takes: attribute, operators, and which kind of token it becomes. */
import type { Operator } from "./lex.ts";
import type { TokenKind } from "./token.ts";

/** Whether a key has an attribute in braces: it must not, it must, it may. */
export type AttributeRule = "none" | "needed" | "optional";

/** One key of the language. */
export interface KeyRule {
  readonly attribute: AttributeRule;
  /** Kind with `==` and `!=`; undefined where the key cannot match. */
  readonly match: TokenKind | undefined;
  /** Kind with the other operators; undefined where the key cannot assign. */
  readonly assign: TokenKind | undefined;
  /** Operators that are read as `=`, with the remark that udev makes. */
  readonly asAssign: Readonly<Partial<Record<Operator, string>>>;
  /** Whether `-=` is allowed. */
  readonly removes: boolean;
  /** Whether the attribute may hold substitutions, which are then checked. */
  readonly formatInAttribute: boolean;
  /** Whether an assigned value must not be empty. */
  readonly nonEmpty: boolean;
}

function key(rule: Partial<KeyRule>): KeyRule {
  return {
    attribute: "none",
    match: undefined,
    assign: undefined,
    asAssign: {},
    removes: false,
    formatInAttribute: false,
    nonEmpty: false,
    ...rule,
  };
}

const ATTRIBUTE = { attribute: "needed", formatInAttribute: true } as const;
const NO_ADD = "key takes '=' or ':=' operator, assuming '='.";
const NO_ADD_NO_FINAL = "key takes '==', '!=', or '=' operator, assuming '='.";
const NO_FINAL = "key takes '==', '!=', '=', or '+=' operator, assuming '='.";

/**
 * The keys that become one kind of token (`parse_token`). TEST, PROGRAM, IMPORT, RUN, OPTIONS, GOTO and LABEL have
 * rules of their own.
 */
export const KEYS: ReadonlyMap<string, KeyRule> = new Map<string, KeyRule>([
  ["ACTION", key({ match: "match-action" })],
  ["DEVPATH", key({ match: "match-devpath" })],
  ["KERNEL", key({ match: "match-kernel" })],
  ["SUBSYSTEM", key({ match: "match-subsystem" })],
  ["DRIVER", key({ match: "match-driver" })],
  ["KERNELS", key({ match: "parent-kernel" })],
  ["SUBSYSTEMS", key({ match: "parent-subsystem" })],
  ["DRIVERS", key({ match: "parent-driver" })],
  ["ATTRS", key({ ...ATTRIBUTE, match: "parent-attr" })],
  ["TAGS", key({ match: "parent-tag" })],
  ["RESULT", key({ match: "match-result" })],
  ["CONST", key({ attribute: "needed", match: "match-const" })],
  ["SYMLINK", key({ match: "match-symlink", assign: "set-symlink" })],
  [
    "NAME",
    key({
      match: "match-name",
      assign: "set-name",
      asAssign: { "+=": "key takes '==', '!=', '=', or ':=' operator, assuming '='." },
    }),
  ],
  ["ENV", key({ attribute: "needed", match: "match-env", assign: "set-env", asAssign: { ":=": NO_FINAL } })],
  [
    "TAG",
    key({
      match: "match-tag",
      assign: "set-tag",
      asAssign: { ":=": NO_FINAL },
      removes: true,
      nonEmpty: true,
    }),
  ],
  [
    "ATTR",
    key({
      ...ATTRIBUTE,
      match: "match-attr",
      assign: "set-attr",
      asAssign: { "+=": NO_ADD_NO_FINAL, ":=": NO_ADD_NO_FINAL },
    }),
  ],
  [
    "SYSCTL",
    key({
      ...ATTRIBUTE,
      match: "match-sysctl",
      assign: "set-sysctl",
      asAssign: { "+=": NO_ADD_NO_FINAL, ":=": NO_ADD_NO_FINAL },
    }),
  ],
  ["OWNER", key({ assign: "set-owner", asAssign: { "+=": NO_ADD }, nonEmpty: true })],
  ["GROUP", key({ assign: "set-group", asAssign: { "+=": NO_ADD }, nonEmpty: true })],
  ["MODE", key({ assign: "set-mode", asAssign: { "+=": NO_ADD }, nonEmpty: true })],
  [
    "SECLABEL",
    key({
      attribute: "needed",
      assign: "set-seclabel",
      asAssign: { ":=": "key takes '=' or '+=' operator, assuming '='." },
      nonEmpty: true,
    }),
  ],
]);
