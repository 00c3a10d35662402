/**
 * Files of shell variables, such as /etc/default/kdump-tools and /etc/sysconfig/kdump.
 *
 * They are sourced by a shell and may hold anything. What is not plain assignments is not guessed at: it is an error.
 */

/** Raised for a file that only a shell could read. */
export class ShellFileError extends Error {
  override readonly name = "ShellFileError";
}

/**
 * The variables that `text` sets: the last assignment of each.
 *
 * Understood: comments, empty lines, `NAME=word`, `export NAME=word`; words of plain text, '...', "..." and backslashes,
 * over several lines too; $NAME and ${NAME} of variables that the file has set before.
 *
 * @param where what is read, for messages.
 * @throws {ShellFileError} naming the line.
 */
export function parseShellAssignments(text: string, where: string): ReadonlyMap<string, string> {
  const reader = new Reader(text, where);
  const variables = new Map<string, string>();
  for (;;) {
    reader.skip(/[\s;]*/y);
    if (reader.isAtEnd) return variables;
    if (reader.skip(/#[^\n]*/y) !== undefined) continue;
    reader.startStatement();
    reader.skip(/export[ \t]+/y);
    const name = reader.skip(/[A-Za-z_][A-Za-z0-9_]*(?==)/y);
    if (name === undefined) throw reader.error("is no assignment");
    reader.skip(/=/y);
    variables.set(name, reader.word(variables));
    // What follows on the same line would be a command that is run with the variable.
    if (reader.skip(/[ \t]*(?:#[^\n]*)?(?:\n|;(?!;)|$)/y) === undefined)
      throw reader.error("is more than an assignment");
  }
}

class Reader {
  readonly #text: string;
  readonly #where: string;
  #at = 0;
  #statement = 0;

  constructor(text: string, where: string) {
    this.#text = text;
    this.#where = where;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#text.length;
  }

  startStatement(): void {
    this.#statement = this.#at;
  }

  /** What `pattern` (sticky) matches here, and goes behind it. */
  skip(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  /** One word, as a shell would expand it on the right of an assignment. */
  word(variables: ReadonlyMap<string, string>): string {
    let word = "";
    for (;;) {
      const plain = this.skip(/[^\s"'\\$`;&|<>()#]+|#/y);
      if (plain !== undefined) word += plain;
      else if (this.skip(/'/y) !== undefined) word += this.#until(/[^']*/y, "'");
      else if (this.skip(/"/y) !== undefined) word += this.#quoted(variables);
      else if (this.skip(/\\\n/y) !== undefined) continue;
      else if (this.skip(/\\(?!$)/y) !== undefined) word += this.skip(/[^]/y) ?? "";
      else if (this.#isAt("$")) word += this.#variable(variables);
      else if (this.#isAt("`")) throw this.error("runs a command");
      else return word;
    }
  }

  #quoted(variables: ReadonlyMap<string, string>): string {
    let text = "";
    for (;;) {
      const plain = this.skip(/[^"\\$`]+/y);
      if (plain !== undefined) text += plain;
      else if (this.skip(/"/y) !== undefined) return text;
      else if (this.skip(/\\\n/y) !== undefined) continue;
      else if (this.skip(/\\(?=["\\$`])/y) !== undefined) text += this.skip(/[^]/y) ?? "";
      else if (this.skip(/\\/y) !== undefined) text += "\\";
      else if (this.#isAt("$")) text += this.#variable(variables);
      else if (this.#isAt("`")) throw this.error("runs a command");
      else throw this.error('has a " that is not closed');
    }
  }

  #variable(variables: ReadonlyMap<string, string>): string {
    const name = this.skip(/\$(?:[A-Za-z_][A-Za-z0-9_]*|\{[A-Za-z_][A-Za-z0-9_]*\})/y);
    if (name === undefined) throw this.error("has an expansion that only a shell can do");
    const value = variables.get(name.replaceAll(/[${}]/g, ""));
    if (value === undefined) throw this.error(`refers to ${name}, which the file has not set before`);
    return value;
  }

  #until(pattern: RegExp, end: string): string {
    const text = this.skip(pattern) ?? "";
    if (!this.#isAt(end)) throw this.error(`has a ${end} that is not closed`);
    this.#at += end.length;
    return text;
  }

  #isAt(text: string): boolean {
    return this.#text.startsWith(text, this.#at);
  }

  /** An error that shows the line at which the statement begins. */
  error(reason: string): ShellFileError {
    const line = this.#text.slice(0, this.#statement).split("\n").length;
    const shown = (this.#text.slice(this.#statement).split("\n")[0] ?? "").slice(0, 60);
    return new ShellFileError(
      `Cannot read ${this.#where}: line ${line}, ${JSON.stringify(shown)}, ${reason}; only assignments are read, without a shell`,
    );
  }
}
