/**
 * In what the versions of udev differ, as data.
 *
 * Read in src/udev/udev-rules.c: v239 and before have one parser (`get_key`, `add_rule`, `parse_file`), v243 has
 * another one (`parse_line`, `parse_token`, `udev_rules_parse_file`) which is still there in v257.
 *
 * One thing of v247 is not here, for it is an accident: a plain match value lacks its second terminating zero, so that
 * it is also compared with whatever parts of later tokens of its line follow in memory (247.3 takes
 * `KERNELS=="x", KERNEL!="cpu|memory"` for true at /devices/system/memory; v252 terminates the value).
 */
import { RulesError } from "./error.ts";

/** The systemd versions whose udev is spoken here. */
export type SystemdVersion = 219 | 239 | 247 | 252 | 257;

/** One version's udev. */
export interface Dialect {
  readonly version: SystemdVersion;
  /** Who ships it, for people. */
  readonly shippedBy: string;
  /** Rule directories, highest priority first. */
  readonly directories: readonly string[];
  /**
   * `first-quote`: a value ends at the first `"` whatever stands before it, and the end of a key is looked for without
   * minding braces. `escaped-quote`: `\"` is a quote within the value, and `{...}` belongs to the key.
   */
  readonly values: "first-quote" | "escaped-quote";
  /** Value prefixes that are understood: `e"..."` since v247, `i"..."` since v257. */
  readonly prefixes: "" | "e" | "ei";
  /**
   * What a key/value pair that cannot be read does: `stop` ends the line there and keeps what was read, `drop` drops
   * the line.
   */
  readonly badPair: "stop" | "drop";
  /**
   * What a known key with an unknown kind of value (`IMPORT{x}`, `RUN{x}`, an unknown builtin) does: `token` is the
   * only thing lost, or the whole `line` is.
   */
  readonly badKind: "token" | "line";
  /**
   * Continuations. `joined` (v239 and before): physical lines are joined as they are, a comment between them becomes
   * part of the line, and end of file keeps what there is. `skipped`: lines beginning with `#` are left out, blanks
   * at the start of each physical line too, and end of file in a continuation drops the line.
   */
  readonly continuation: "joined" | "skipped";
  /**
   * A physical line of 16,384 bytes or more: `split` after 16,383 bytes, the piece ignored and the rest read as a
   * line of its own (fgets); `stop` reading the file there, keeping the lines before but resolving none of their
   * GOTOs (the error returns before rule_resolve_goto); `drop` the file (v257 frees it).
   */
  readonly overlongLine: "split" | "stop" | "drop";
  /** When `$...` and `%...` in RUN are replaced: when the list is executed, or when the token is applied (v243 on). */
  readonly runSubstitution: "at-execution" | "at-token";
  /**
   * Lines with NAME, SYMLINK, OWNER, GROUP or MODE, for a device without node and network interface, or on remove:
   * skipped altogether (v239 and before), or only where they have no other effect.
   */
  readonly nodeLines: "skip" | "skip-if-nothing-else";
  /** Blanks between the parts of a line: isspace(), and since v243 the shorter WHITESPACE. */
  readonly blanks: string;
  /** Whether string_escape=replace also applies to ENV: not up to v247, observed. */
  readonly escapesEnv: boolean;
  /** Whether a value that is empty after its substitutions unsets the property: v257, observed. */
  readonly emptyUnsets: boolean;
  /** Whether `SYMLINK-=` takes links away: v257, observed (v252 refuses the operator). */
  readonly removesLinks: boolean;
  /** Whether NAME is refused where there is no interface: v247 sets it, and `$name` shows it, observed. */
  readonly nameNeedsInterface: boolean;
  /** Whether TAG and TAGS take globs and alternatives. */
  readonly tagPatterns: boolean;
  /**
   * What `!=` of TAG, TAGS and SYMLINK asks for: that `none` match, or, in v247, that there is not one `other`, so
   * that TAG!="x" is false for a device that has a tag y (observed).
   */
  readonly negatedLists: "none" | "other";
  /** Whether TAG matches still find a tag that `-=` took away: since v247, which keeps a second list, observed. */
  readonly removedTagsMatch: boolean;
  /** Whether OPTIONS knows log_level=: not in v247, observed. */
  readonly logLevelOption: boolean;
  /** What is left of text that outgrows its buffer: it is `cut` silently (v247 too, observed), or the token is `refuse`d. */
  readonly overflow: "cut" | "refuse";
  /** Bytes of a command's buffer, its terminating zero included. */
  readonly commandSize: 1024 | 16384;
  /**
   * Attributes of CONST; none: the key is unknown. RHEL 8 has it in its v239 (upstream: v244). cvm is not there yet:
   * `udevadm verify` of 257.13 refuses it.
   */
  readonly constants: readonly string[];
  readonly builtins: readonly string[];
  /** ENV names that rules may not set. */
  readonly protectedNames: ReadonlySet<string>;
}

/** Bytes of a physical or a logical line, its terminating zero included (UDEV_LINE_SIZE). */
export const LINE_SIZE = 16_384;
/** Bytes of a path (UDEV_PATH_SIZE), its terminating zero included. */
export const PATH_SIZE = 1024;
/** Bytes of a name or a value (UDEV_NAME_SIZE), its terminating zero included. */
export const NAME_SIZE = 512;

const OLD_DIRECTORIES = [
  "/etc/udev/rules.d",
  "/run/udev/rules.d",
  "/usr/lib/udev/rules.d",
  "/lib/udev/rules.d",
];
const NEW_DIRECTORIES = [
  "/etc/udev/rules.d",
  "/run/udev/rules.d",
  "/usr/local/lib/udev/rules.d",
  "/usr/lib/udev/rules.d",
  "/lib/udev/rules.d",
];
const BUILTINS = [
  "blkid",
  "btrfs",
  "hwdb",
  "input_id",
  "keyboard",
  "kmod",
  "net_id",
  "net_setup_link",
  "path_id",
  "uaccess",
  "usb_id",
];
const PROTECTED = [
  "ACTION",
  "DEVLINKS",
  "DEVNAME",
  "DEVPATH",
  "DEVTYPE",
  "DRIVER",
  "IFINDEX",
  "MAJOR",
  "MINOR",
  "SUBSYSTEM",
  "TAGS",
];

const OLD = {
  directories: OLD_DIRECTORIES,
  values: "first-quote",
  prefixes: "",
  badPair: "stop",
  badKind: "token",
  continuation: "joined",
  overlongLine: "split",
  runSubstitution: "at-execution",
  nodeLines: "skip",
  escapesEnv: false,
  emptyUnsets: false,
  removesLinks: false,
  nameNeedsInterface: false,
  tagPatterns: false,
  negatedLists: "none",
  removedTagsMatch: false,
  logLevelOption: false,
  blanks: " \t\n\v\f\r",
  overflow: "cut",
  commandSize: 1024,
  builtins: BUILTINS,
  protectedNames: new Set(PROTECTED),
} as const;

const NEW = {
  directories: NEW_DIRECTORIES,
  values: "escaped-quote",
  prefixes: "e",
  badPair: "drop",
  badKind: "line",
  continuation: "skipped",
  overlongLine: "stop",
  runSubstitution: "at-token",
  nodeLines: "skip-if-nothing-else",
  escapesEnv: true,
  emptyUnsets: false,
  removesLinks: false,
  nameNeedsInterface: true,
  tagPatterns: true,
  negatedLists: "none",
  removedTagsMatch: true,
  logLevelOption: true,
  blanks: " \t\n\r",
  overflow: "refuse",
  commandSize: 16_384,
  constants: ["arch", "virt"],
  builtins: BUILTINS,
  protectedNames: new Set([...PROTECTED, "SEQNUM"]),
} as const;

const DIALECTS: Readonly<Record<SystemdVersion, Dialect>> = {
  219: { ...OLD, version: 219, shippedBy: "RHEL 7", constants: [] },
  239: { ...OLD, version: 239, shippedBy: "RHEL 8", constants: ["arch", "virt"] },
  247: {
    ...NEW,
    version: 247,
    shippedBy: "Debian 11",
    escapesEnv: false,
    nameNeedsInterface: false,
    negatedLists: "other",
    logLevelOption: false,
    overflow: "cut",
    commandSize: 1024,
  },
  252: { ...NEW, version: 252, shippedBy: "Debian 12, RHEL 9" },
  257: {
    ...NEW,
    version: 257,
    shippedBy: "Debian 13, RHEL 10",
    // Debian 13 and later have one /usr: /lib is the same directory.
    directories: NEW_DIRECTORIES.filter((directory) => directory !== "/lib/udev/rules.d"),
    prefixes: "ei",
    emptyUnsets: true,
    removesLinks: true,
    overlongLine: "drop",
    builtins: [...BUILTINS, "dissect_image", "net_driver"],
  },
};

/** Every dialect, oldest first. */
export const ALL_DIALECTS: readonly Dialect[] = Object.values(DIALECTS);

/** The dialect that is spoken where nothing is said. */
export const NEWEST: Dialect = DIALECTS[257];

/** The udev of `version`. */
export function dialectOf(version: SystemdVersion): Dialect {
  return DIALECTS[version];
}

/**
 * Reads a version such as `257`.
 *
 * @throws {RulesError} which lists the versions that there are.
 */
export function parseDialect(text: string): Dialect {
  const found = ALL_DIALECTS.find(({ version }) => String(version) === text);
  if (found) return found;
  const known = ALL_DIALECTS.map(({ version, shippedBy }) => `${version} (${shippedBy})`).join(", ");
  throw new RulesError(
    "speak that udev",
    JSON.stringify(text),
    `is no version known here, expected ${known}`,
  );
}

/** Whether `text` and a terminating zero fit into `size` bytes of UTF-8. */
export function fits(text: string, size: number): boolean {
  // No UTF-16 unit takes more than three bytes: most texts need no second look.
  return text.length * 3 < size || (text.length < size && utf8Length(text) < size);
}

/** Bytes of `text` in UTF-8. */
export function utf8Length(text: string): number {
  return ENCODER.encode(text).length;
}

const ENCODER = new TextEncoder();

/** The first `bytes` bytes of `text`, whole characters only. */
export function cut(text: string, bytes: number): string {
  let used = 0;
  let at = 0;
  for (const character of text) {
    used += utf8Length(character);
    if (used > bytes) break;
    at += character.length;
  }
  return text.slice(0, at);
}
