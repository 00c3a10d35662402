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
 * `text` with its escapes replaced: the usual letters, `\s` for a blank, `\uHHHH` and `\UHHHHHHHH` for a character,
 * `\xHH` and `\OOO` for a byte. Bytes that are not UTF-8 together become U+FFFD.
 *
 * @returns undefined where an escape is none of these, or stands for a zero byte.
 */
export function unescape(text: string): string | undefined {
  let result = "";
  let bytes: number[] = [];
  const flush = (): void => {
    if (bytes.length > 0)
      result += new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes));
    bytes = [];
  };
  for (let at = 0; at < text.length;) {
    const character = text[at]!;
    const escape = character === "\\" ? readEscape(text, at + 1) : { text: character, next: at + 1 };
    if (escape === undefined) return undefined;
    if (typeof escape.text === "number") bytes.push(escape.text);
    else {
      flush();
      result += escape.text;
    }
    at = escape.next;
  }
  flush();
  return result;
}

interface Escape {
  /** A byte where it is a number. */
  readonly text: string | number;
  readonly next: number;
}

function readEscape(text: string, at: number): Escape | undefined {
  const letter = text[at];
  if (letter === undefined) return undefined;
  const simple = SIMPLE[letter];
  if (simple !== undefined) return { text: simple, next: at + 1 };
  if (letter === "x") return readCode(text, at + 1, 2, 16, 0xff);
  if (letter === "u") return readCode(text, at + 1, 4, 16, 0xffff);
  if (letter === "U") return readCode(text, at + 1, 8, 16, 0x10ffff);
  return readCode(text, at, 3, 8, 0xff);
}

function readCode(text: string, at: number, digits: number, base: 8 | 16, limit: number): Escape | undefined {
  const found = text.slice(at, at + digits);
  const pattern = base === 8 ? /^[0-7]+$/ : /^[0-9a-f]+$/i;
  if (found.length !== digits || !pattern.test(found)) return undefined;
  const code = Number.parseInt(found, base);
  if (code === 0 || code > limit || (code >= 0xd800 && code <= 0xdfff)) return undefined;
  const isByte = limit === 0xff;
  return { text: isByte ? code : String.fromCodePoint(code), next: at + digits };
}
