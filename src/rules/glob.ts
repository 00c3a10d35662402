/** fnmatch(3) with no flags: `*` and `?` also match `/` and a leading `.`. */

type Piece =
  | { readonly kind: "star" }
  | { readonly kind: "any" }
  | { readonly kind: "literal"; readonly character: string }
  | {
      readonly kind: "set";
      readonly negated: boolean;
      readonly ranges: readonly (readonly [string, string])[];
    };

/**
 * Compiles a glob.
 *
 * The matcher goes back to the last `*` only, so a match takes at most pattern times text steps, whoever wrote either.
 */
export function compileGlob(pattern: string, caseInsensitive = false): (text: string) => boolean {
  const fold = caseInsensitive
    ? (text: string): string => text.toLowerCase()
    : (text: string): string => text;
  const pieces = parseGlob(fold(pattern));
  return (text) => matchPieces(pieces, Array.from(fold(text)));
}

function matchPieces(pieces: readonly Piece[], text: readonly string[]): boolean {
  let piece = 0;
  let at = 0;
  let star = -1;
  let resume = 0;
  while (at < text.length) {
    const wanted = pieces[piece];
    if (wanted?.kind === "star") {
      star = piece++;
      resume = at;
    } else if (wanted && matchesOne(wanted, text[at]!)) {
      piece++;
      at++;
    } else if (star !== -1) {
      piece = star + 1;
      at = ++resume;
    } else {
      return false;
    }
  }
  while (pieces[piece]?.kind === "star") piece++;
  return piece === pieces.length;
}

function matchesOne(piece: Piece, character: string): boolean {
  switch (piece.kind) {
    case "star":
    case "any":
      return true;
    case "literal":
      return piece.character === character;
    case "set":
      return piece.ranges.some(([from, to]) => from <= character && character <= to) !== piece.negated;
  }
}

function parseGlob(pattern: string): readonly Piece[] {
  const characters = Array.from(pattern);
  const pieces: Piece[] = [];
  for (let at = 0; at < characters.length;) {
    const character = characters[at]!;
    if (character === "*") {
      if (pieces.at(-1)?.kind !== "star") pieces.push({ kind: "star" });
      at++;
    } else if (character === "?") {
      pieces.push({ kind: "any" });
      at++;
    } else if (character === "\\" && at + 1 < characters.length) {
      pieces.push({ kind: "literal", character: characters[at + 1]! });
      at += 2;
    } else {
      const set = character === "[" ? parseSet(characters, at + 1) : undefined;
      pieces.push(set?.piece ?? { kind: "literal", character });
      at = set?.next ?? at + 1;
    }
  }
  return pieces;
}

/** Characters of `[:name:]` in the C locale. */
const CLASSES: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  alpha: [
    ["A", "Z"],
    ["a", "z"],
  ],
  alnum: [
    ["0", "9"],
    ["A", "Z"],
    ["a", "z"],
  ],
  blank: [
    [" ", " "],
    ["\t", "\t"],
  ],
  cntrl: [
    ["\0", "\x1f"],
    ["\x7f", "\x7f"],
  ],
  digit: [["0", "9"]],
  graph: [["!", "~"]],
  lower: [["a", "z"]],
  print: [[" ", "~"]],
  punct: [
    ["!", "/"],
    [":", "@"],
    ["[", "`"],
    ["{", "~"],
  ],
  space: [
    ["\t", "\r"],
    [" ", " "],
  ],
  upper: [["A", "Z"]],
  xdigit: [
    ["0", "9"],
    ["A", "F"],
    ["a", "f"],
  ],
};

/** What follows a `[`; undefined where it is never closed, and then `[` stands for itself. */
function parseSet(
  characters: readonly string[],
  start: number,
): { readonly piece: Piece; readonly next: number } | undefined {
  let at = start;
  const negated = characters[at] === "!" || characters[at] === "^";
  if (negated) at++;
  const ranges: (readonly [string, string])[] = [];
  for (let first = true; ; first = false) {
    let from = characters[at];
    if (from === undefined) return undefined;
    if (from === "]" && !first) return { piece: { kind: "set", negated, ranges }, next: at + 1 };
    const named = from === "[" ? /^\[:([a-z]+):\]/.exec(characters.slice(at, at + 12).join("")) : null;
    if (named) {
      const members = CLASSES[named[1]!];
      if (!members) return undefined;
      ranges.push(...members);
      at += named[0].length;
      continue;
    }
    // [.x.] and [=x=] of one character are that character.
    const one = from === "[" ? /^\[([.=])(.)\1\]$/u.exec(characters.slice(at, at + 5).join("")) : null;
    if (one) {
      from = one[2]!;
      at += 4;
    } else if (from === "\\" && characters[at + 1] !== undefined) from = characters[++at]!;
    at++;
    let to = from;
    if (characters[at] === "-" && characters[at + 1] !== undefined && characters[at + 1] !== "]") {
      to = characters[at + 1]!;
      at += 2;
      if (to === "\\" && characters[at] !== undefined) to = characters[at++]!;
    }
    ranges.push([from, to]);
  }
}
