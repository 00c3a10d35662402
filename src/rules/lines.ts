/** Text in, logical lines out: comments, continuations, and the limit on length. */
import { cut, type Dialect, fits, LINE_SIZE, utf8Length } from "./dialect.ts";
import type { Diagnostic } from "./diagnostic.ts";

/** One logical line. */
export interface LogicalLine {
  /** Number of its last physical line, from 1: the one that udev names. */
  readonly number: number;
  readonly text: string;
}

/** A file's lines. */
export interface LogicalLines {
  readonly lines: readonly LogicalLine[];
  readonly diagnostics: readonly Diagnostic[];
  /** False where the file was given up before its end, so that its GOTOs lead nowhere ({@link Dialect.overlongLine}). */
  readonly complete: boolean;
}

/** Splits a file of rules into logical lines, comments and empty lines left out. */
export function splitLines(path: string, text: string, dialect: Dialect): LogicalLines {
  return dialect.continuation === "joined" ? joined(path, text) : skipped(path, text, dialect);
}

/** isspace() in the C locale; the other blanks that there are in Unicode are none. */
const LEADING_BLANKS = /^[ \t\n\v\f\r]+/;

/** A line under construction. Its parts are joined once: files of many short continuations are no trap. */
class Builder {
  readonly #parts: string[] = [];
  #bytes = 0;

  append(part: string): void {
    if (part === "") return;
    this.#parts.push(part);
    this.#bytes += utf8Length(part);
  }

  /** Bytes of UTF-8. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Takes a backslash from the end. @returns whether there was one. */
  continues(): boolean {
    const last = this.#parts.pop();
    if (last === undefined) return false;
    const found = last.endsWith("\\");
    if (found) this.#bytes--;
    const rest = found ? last.slice(0, -1) : last;
    if (rest !== "") this.#parts.push(rest);
    return found;
  }

  /** The line; with the backslash at its end where {@link continues} was not asked. */
  toString(): string {
    return this.#parts.join("");
  }
}

/** Since v243. */
function skipped(path: string, text: string, dialect: Dialect): LogicalLines {
  const lines: LogicalLine[] = [];
  const diagnostics: Diagnostic[] = [];
  const report = (line: number, message: string): void =>
    void diagnostics.push({ severity: "error", path, line, message });
  const leading = new RegExp(`^[${dialect.blanks}]+`);
  let builder: Builder | undefined;
  let tooLong = false;
  let number = 0;
  for (const physical of physicalLines(text)) {
    number++;
    if (!fits(physical, LINE_SIZE)) {
      const dropped = dialect.overlongLine === "drop";
      const kept = dropped ? "the file is dropped" : "the rest of the file is ignored";
      report(number, `Line has ${utf8Length(physical)} bytes, more than ${LINE_SIZE - 1}: ${kept}.`);
      return { lines: dropped ? [] : lines, diagnostics, complete: false };
    }
    const line = physical.replace(leading, "");
    if (line.startsWith("#")) continue;
    let continues: boolean;
    if (tooLong) continues = line.endsWith("\\");
    else {
      builder ??= new Builder();
      builder.append(line);
      tooLong = builder.bytes >= LINE_SIZE;
      continues = tooLong ? line.endsWith("\\") : builder.continues();
    }
    if (continues) continue;
    const logical = builder?.toString() ?? "";
    if (tooLong) report(number, "Line is too long, ignored.");
    else if (logical !== "") lines.push({ number, text: logical });
    builder = undefined;
    tooLong = false;
  }
  if (builder !== undefined) report(number, "Unexpected EOF after line continuation, line ignored.");
  return { lines, diagnostics, complete: true };
}

/** v239 and before: fgets() into a buffer of 16,384 bytes. */
function joined(path: string, text: string): LogicalLines {
  const lines: LogicalLine[] = [];
  const diagnostics: Diagnostic[] = [];
  const pieces = text.split("\n");
  if (pieces.at(-1) === "") pieces.pop();
  let number = 0;
  const tooLong = (): void =>
    void diagnostics.push({ severity: "error", path, line: number, message: "line too long, ignored" });
  for (let i = 0; i < pieces.length;) {
    number++;
    const first = pieces[i++]!;
    // The newline counts: fgets() keeps it in the buffer.
    if (!fits(`${first}\n`, LINE_SIZE)) {
      tooLong();
      const rest = first.slice(cut(first, LINE_SIZE - 1).length);
      if (rest !== "") pieces[--i] = rest;
      continue;
    }
    if (first.replace(LEADING_BLANKS, "").startsWith("#") || first.length < 2) continue;
    const builder = new Builder();
    builder.append(first);
    while (i < pieces.length && builder.bytes + 1 < LINE_SIZE && builder.continues()) {
      builder.append(pieces[i++]!);
      number++;
    }
    if (builder.bytes + 1 >= LINE_SIZE) tooLong();
    else lines.push({ number, text: builder.toString().replace(LEADING_BLANKS, "") });
  }
  return { lines, diagnostics, complete: true };
}

/** Lines without their ends (`read_line` takes all four for one); a last line counts also without an end. */
function physicalLines(text: string): readonly string[] {
  const lines = text.split(/\r\n|\n\r|\n|\r/);
  if (lines.at(-1) === "") lines.pop();
  return lines;
}
