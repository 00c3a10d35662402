/** The language of `$...` and `%...` in values, as far as it can be read without an event. */

/** What a substitution is replaced by. */
export type Variable =
  | "devnode"
  | "attr"
  | "env"
  | "kernel"
  | "number"
  | "driver"
  | "devpath"
  | "id"
  | "major"
  | "minor"
  | "result"
  | "parent"
  | "name"
  | "links"
  | "root"
  | "sys";

/** A piece of a value. */
export type FormatPiece =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "variable"; readonly variable: Variable; readonly argument: string | undefined };

/** A value in pieces. */
export interface Format {
  readonly pieces: readonly FormatPiece[];
  /** Where a brace is not closed or holds nothing: udev copies nothing from there on. */
  readonly brokenAt: number | undefined;
  /** What `udevadm verify` minds, at the first place (offset from 0). */
  readonly complaint: { readonly offset: number; readonly hint: string } | undefined;
}

/** In the order in which udev tries them: `$idle` is `$id` and "le" (`map` in udev-event.c, udev-format.c). */
const NAMES: readonly (readonly [name: string, letter: string, variable: Variable])[] = [
  ["devnode", "N", "devnode"],
  ["tempnode", "N", "devnode"],
  ["attr", "s", "attr"],
  ["sysfs", "s", "attr"],
  ["env", "E", "env"],
  ["kernel", "k", "kernel"],
  ["number", "n", "number"],
  ["driver", "d", "driver"],
  ["devpath", "p", "devpath"],
  ["id", "b", "id"],
  ["major", "M", "major"],
  ["minor", "m", "minor"],
  ["result", "c", "result"],
  ["parent", "P", "parent"],
  ["name", "D", "name"],
  ["links", "L", "links"],
  ["root", "r", "root"],
  ["sys", "S", "sys"],
];

/** Whether `value` has anything to replace. */
export function hasFormat(value: string): boolean {
  return value.includes("$") || value.includes("%");
}

/** Takes `value` apart. Total: what is no substitution is text. */
export function parseFormat(value: string): Format {
  const pieces: FormatPiece[] = [];
  let complaint: Format["complaint"];
  const complain = (offset: number, hint: string): void => void (complaint ??= { offset, hint });
  let text = "";
  let at = 0;
  const flush = (): void => {
    if (text !== "") pieces.push({ kind: "text", text });
    text = "";
  };
  while (at < value.length) {
    const sign = value[at]!;
    if (sign !== "$" && sign !== "%") {
      text += sign;
      at++;
      continue;
    }
    if (value[at + 1] === sign) {
      text += sign;
      at += 2;
      continue;
    }
    const found = findVariable(value, at);
    if (!found) {
      complain(at, "invalid substitution type");
      text += sign;
      at++;
      continue;
    }
    let next = found.next;
    let argument: string | undefined;
    if (value[next] === "{") {
      const close = value.indexOf("}", next);
      if (close <= next + 1) {
        complain(at, "invalid substitution type");
        flush();
        return { pieces, brokenAt: at, complaint };
      }
      argument = value.slice(next + 1, close);
      next = close + 1;
    }
    const { variable } = found;
    if ((variable === "attr" || variable === "env") && argument === undefined)
      complain(next, "attribute value missing");
    if (variable === "result" && argument !== undefined && !/^\d+\+?$/.test(argument))
      complain(next, "attribute value not a valid number");
    flush();
    pieces.push({ kind: "variable", variable, argument });
    at = next;
  }
  flush();
  return { pieces, brokenAt: undefined, complaint };
}

function findVariable(
  value: string,
  at: number,
): { readonly variable: Variable; readonly next: number } | undefined {
  if (value[at] === "%") {
    const found = NAMES.find(([, letter]) => letter === value[at + 1]);
    return found && { variable: found[2], next: at + 2 };
  }
  const found = NAMES.find(([name]) => value.startsWith(name, at + 1));
  return found && { variable: found[2], next: at + 1 + found[0].length };
}
