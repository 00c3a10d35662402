/** Text as man(7) input: what roff would take for a command is escaped, and lines are short, one sentence at a time. */

/** mandoc's linter wants no more than 80 bytes in a line of text. */
const WIDTH = 76;

/** Text on a line of its own or behind a macro. */
export function escapeText(text: string): string {
  return text.replaceAll("\\", "\\e").replace(/^[.']/, "\\&$&");
}

/** What is typed as it stands: hyphens that are no dashes. */
export function literal(text: string): string {
  return escapeText(text).replaceAll("-", "\\-");
}

/** An argument of a macro. */
export function quoted(text: string): string {
  return `"${text.replaceAll('"', "\\(dq")}"`;
}

/** A paragraph's lines. Options and commands in it keep their hyphens. */
export function paragraph(text: string): string {
  const lines: string[] = [];
  for (const sentence of text
    .replaceAll(/\s+/g, " ")
    .trim()
    .split(/(?<=[.;?!]) (?=\S)/)) {
    let line = "";
    for (const word of sentence.split(" ")) {
      if (line !== "" && line.length + 1 + word.length > WIDTH) {
        lines.push(line);
        line = "";
      }
      line += line === "" ? word : ` ${word}`;
    }
    lines.push(line);
  }
  return lines
    .map((line) =>
      escapeText(line.replaceAll(/(?<![\w-])--?(?=\w)/g, (dashes) => dashes.replaceAll("-", "\u0000"))),
    )
    .map((line) => line.replaceAll("\u0000", "\\-").replaceAll(/\S{50,}/g, breakable))
    .join("\n");
}

/** Where a word that is longer than a line may be broken: roff is told so by `\\:`. */
function breakable(word: string): string {
  return word.replaceAll(/(?<=.)\[/g, "\\:[");
}

/** A term in bold and what it means, indented. */
export function tagged(term: string, meaning: string): string {
  return `.TP\n${term}\n${paragraph(meaning)}`;
}

/** What help says after the rest: headings end with a colon, lists are indented. */
export function notes(text: string): string {
  return text
    .trimEnd()
    .split("\n")
    .map((line) => {
      const [, term, meaning] = /^ {2}(\S+) +(\S.*)$/.exec(line) ?? [];
      if (term !== undefined && meaning !== undefined) return tagged(`\\fB${literal(term)}\\fR`, meaning);
      return line.trim() === "" ? ".PP" : paragraph(line);
    })
    .join("\n")
    .replaceAll(/(?:\.PP\n)+(?=\.TP)/g, "")
    .replace(/^(?:\.PP\n)+/, "");
}
