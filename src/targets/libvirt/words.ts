/** How words are given to virsh's interactive mode (virsh(1), "NOTES"): a line of them is no shell's, but nearly. */

/** A word that cannot be given: a line of virsh's ends at a newline, and readline would obey other control characters. */
export class VirshWordError extends Error {
  override readonly name = "VirshWordError";
}

/** A command line of `words`, each of which arrives as it is. @throws {VirshWordError} for control characters. */
export function virshLine(...words: readonly string[]): string {
  return words.map(quoted).join(" ");
}

function quoted(word: string): string {
  // oxlint-disable-next-line no-control-regex -- they are what must not be there
  const control = /[\u0000-\u001f\u007f]/.exec(word)?.[0];
  if (control !== undefined) {
    const code = control.charCodeAt(0).toString(16).padStart(2, "0");
    throw new VirshWordError(
      `Cannot give virsh ${JSON.stringify(word)}: it has the control character 0x${code}`,
    );
  }
  if (/^[A-Za-z0-9_./:=@%+-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

/** JSON text in ASCII and without an apostrophe: both stand in strings only, which have another spelling for them. */
export function plainJson(text: string): string {
  return text.replaceAll(
    /['\u007f-\uffff]/g,
    (unit) => String.raw`\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
