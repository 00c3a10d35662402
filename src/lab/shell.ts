/** Words for a POSIX shell. */

/** `word` as one word, whatever is in it. */
export function quoted(word: string): string {
  return `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
