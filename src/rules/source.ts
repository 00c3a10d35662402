/** Rule files as they come from directories: which of them count, in which order, and what is in them. */
import { RulesError } from "./error.ts";

/** A file of rules. */
export interface RuleSource {
  readonly path: string;
  readonly text: string;
}

/** What a rule directory holds, by name. */
export interface RuleDirectoryEntry {
  /** Base name. */
  readonly name: string;
  /** Full path. */
  readonly path: string;
  /** Whether it is empty, or a link to /dev/null: then it takes the name and says nothing. */
  readonly masks: boolean;
}

/**
 * The files that udev would read, in its order.
 *
 * Names that do not end in `.rules`, and hidden and backup names, are skipped (conf-files.c, path-util.c
 * `hidden_or_backup_file`). Of files with one name the one in the first directory counts, also where it is empty or
 * a link to /dev/null, and then none is read (`udev_rules_parse_file`: "Skipping empty file"). The rest is sorted by
 * name in byte order, whatever its directory.
 *
 * @param directories - highest priority first.
 */
export function selectRuleFiles(
  directories: readonly (readonly RuleDirectoryEntry[])[],
): readonly RuleDirectoryEntry[] {
  const byName = new Map<string, RuleDirectoryEntry>();
  for (const entry of directories.flat()) {
    if (isRuleFileName(entry.name) && !byName.has(entry.name)) byName.set(entry.name, entry);
  }
  return [...byName.values()].filter(({ masks }) => !masks).sort((a, b) => compareBytes(a.name, b.name));
}

const BACKUP =
  /\.(?:rpm(?:new|save|orig)|dpkg-(?:old|new|tmp|dist|bak|backup|remove)|ucf-(?:new|old|dist)|swp|bak|old|new)$/;

/** Whether udev takes a file of that name for rules. */
export function isRuleFileName(name: string): boolean {
  return name.endsWith(".rules") && !name.startsWith(".") && !name.endsWith("~") && !BACKUP.test(name);
}

/** strcmp() on UTF-8. Not the order of UTF-16 units, which differs beyond U+FFFF. */
function compareBytes(a: string, b: string): number {
  const left = Array.from(a);
  const right = Array.from(b);
  for (let i = 0; i < left.length && i < right.length; i++) {
    const difference = left[i]!.codePointAt(0)! - right[i]!.codePointAt(0)!;
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

/**
 * `bytes` as text.
 *
 * @throws {RulesError} naming file and line, where they are not UTF-8 or have a zero byte: rules are text.
 */
export function decodeRules(path: string, bytes: Uint8Array): RuleSource {
  const zero = bytes.indexOf(0);
  if (zero !== -1)
    throw new RulesError("read rules", place(path, bytes, zero), "has a zero byte, expected text");
  try {
    return { path, text: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch {
    throw new RulesError("read rules", place(path, bytes, badUtf8(bytes)), "is not UTF-8, expected text");
  }
}

function place(path: string, bytes: Uint8Array, offset: number): string {
  let line = 1;
  for (let i = 0; i < offset; i++) if (bytes[i] === 10) line++;
  return `${path}:${line}`;
}

/** Offset of the line that is not UTF-8. */
function badUtf8(bytes: Uint8Array): number {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  for (let start = 0; start < bytes.length;) {
    const newline = bytes.indexOf(10, start);
    const end = newline === -1 ? bytes.length : newline + 1;
    try {
      decoder.decode(bytes.subarray(start, end));
    } catch {
      return start;
    }
    start = end;
  }
  return 0;
}
