/** What udev does to text that comes from outside before it becomes a value (src/shared/udev-util.c). */

/** Characters that stay beside letters and digits in PROGRAM's output and in attributes (UDEV_ALLOWED_CHARS_INPUT). */
const INPUT = "/ $%?,";
const ALWAYS = "#+-.:=@_";

/**
 * Replaces what is not allowed by `_` (`udev_replace_chars`). `\x` and everything beyond ASCII stays.
 *
 * @param allowed - characters that stay in addition; with a blank among them, other white space becomes a blank.
 */
export function replaceChars(text: string, allowed: string): string {
  let result = "";
  for (let at = 0; at < text.length; at++) {
    const character = text[at]!;
    if (/[0-9A-Za-z]/.test(character) || ALWAYS.includes(character) || allowed.includes(character))
      result += character;
    else if (character === "\\" && text[at + 1] === "x") {
      result += "\\x";
      at++;
    } else if (character > "\x7f") result += character;
    else result += allowed.includes(" ") && /[\t\n\v\f\r ]/.test(character) ? " " : "_";
  }
  return result;
}

/** For PROGRAM's result and `$attr`. */
export function replaceInputChars(text: string): string {
  return replaceChars(text, INPUT);
}

/** Blanks at both ends go, each run of them within becomes `_` (`udev_replace_whitespace`, for SYMLINK). */
export function replaceWhitespace(text: string): string {
  return trimBlanks(text).replaceAll(/[ \t\n\v\f\r]+/g, "_");
}

/** Without blanks at either end; blanks of ASCII only. */
export function trimBlanks(text: string): string {
  return trimEnd(text).replace(/^[ \t\n\v\f\r]+/, "");
}

/** Without blanks at the end. A regular expression would take quadratic time on long runs of them. */
export function trimEnd(text: string): string {
  let end = text.length;
  while (end > 0 && " \t\n\v\f\r".includes(text[end - 1]!)) end--;
  return text.slice(0, end);
}

/** Without newlines at the end: the other blanks there stay. */
export function trimNewlines(text: string): string {
  let end = text.length;
  while (end > 0 && (text[end - 1] === "\n" || text[end - 1] === "\r")) end--;
  return text.slice(0, end);
}

/**
 * `KEY=VALUE` of an imported line (`get_property_from_string`); the value may be in one pair of quotes.
 *
 * @returns undefined for comments, empty lines, and lines that are no property.
 */
export function parseProperty(line: string): readonly [string, string] | undefined {
  const text = trimBlanks(line);
  const equals = text.indexOf("=");
  if (text.startsWith("#") || equals === -1) return undefined;
  const key = trimEnd(text.slice(0, equals));
  let value = trimBlanks(text.slice(equals + 1));
  if (key === "" || value === "") return undefined;
  const [quote] = value;
  if (quote === '"' || quote === "'") {
    if (value.length === 1 || !value.endsWith(quote)) return undefined;
    value = value.slice(1, -1);
  }
  return [key, value];
}
