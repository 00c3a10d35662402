/** Text for people: tables without lines, and nothing from a guest that could move the cursor. */

/** `text` with control characters and what is not ASCII shown as escapes: guests choose what is in it. */
export function printable(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, (c) => `\\u${c.codePointAt(0)!.toString(16).padStart(4, "0")}`);
}

/** Rows in columns, each as wide as its widest cell, two spaces apart; no spaces at the ends of lines. */
export function columns(rows: readonly (readonly string[])[], indent = ""): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  const lines = rows.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join("  ")
      .trimEnd(),
  );
  return lines.map((line) => `${indent}${line}\n`).join("");
}

/** `1.2 ms`, from microseconds. */
export function milliseconds(microseconds: number): string {
  return `${(microseconds / 1000).toFixed(1)} ms`;
}

/** `3.8 s`, from milliseconds. */
export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
