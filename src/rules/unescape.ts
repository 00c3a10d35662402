/** C escapes in `e"..."` (since v247): cunescape() of src/basic/escape.c, without its relaxed flag. */

const SIMPLE: Readonly<Record<string, string>> = {
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
  "\\": "\\",
  '"': '"',
  "'": "'",
  s: " ",
};

/**
 * `text` with its escapes replaced: the usual letters, `\s` for a blank, `\xHH`, `\uHHHH`, `\UHHHHHHHH`, `\OOO`.
 *
 * @returns undefined where an escape is none of these, or stands for a zero byte, or for a byte that is not ASCII and
 *   would have to be one of several in UTF-8.
 */
export function unescape(text: string): string | undefined {
  let result = "";
  for (let at = 0; at < text.length;) {
    const character = text[at]!;
    if (character !== "\\") {
      result += character;
      at++;
      continue;
    }
    const escape = readEscape(text, at + 1);
    if (escape === undefined) return undefined;
    result += escape.text;
    at = escape.next;
  }
  return result;
}

interface Escape {
  readonly text: string;
  readonly next: number;
}

function readEscape(text: string, at: number): Escape | undefined {
  const letter = text[at];
  if (letter === undefined) return undefined;
  const simple = SIMPLE[letter];
  if (simple !== undefined) return { text: simple, next: at + 1 };
  if (letter === "x") return readCode(text, at + 1, 2, 16, 0x7f);
  if (letter === "u") return readCode(text, at + 1, 4, 16, 0xffff);
  if (letter === "U") return readCode(text, at + 1, 8, 16, 0x10ffff);
  return readCode(text, at, 3, 8, 0x7f);
}

function readCode(text: string, at: number, digits: number, base: 8 | 16, limit: number): Escape | undefined {
  const found = text.slice(at, at + digits);
  const pattern = base === 8 ? /^[0-7]+$/ : /^[0-9a-f]+$/i;
  if (found.length !== digits || !pattern.test(found)) return undefined;
  const code = Number.parseInt(found, base);
  if (code === 0 || code > limit || (code >= 0xd800 && code <= 0xdfff)) return undefined;
  return { text: String.fromCodePoint(code), next: at + digits };
}
