/** What virsh's interactive mode prints: its prompt and our own line again on stdout, results there too, errors on stderr. */

/** The prompt (virsh.h, VIRSH_PROMPT_RW and _RO): `>` where only reading is permitted. */
const PROMPT = /^(?:virsh [#>] ?)+/;

/**
 * A result's line, or undefined for one that is none: empty, or what readline echoes of `sent`. Of a long line it shows
 * the end only, behind a carriage return.
 */
export function resultLine(line: string, sent: string): string | undefined {
  const rest = line.replace(PROMPT, "");
  if (rest.trim() === "" || rest.includes("\r")) return undefined;
  return rest !== line && rest === sent ? undefined : rest;
}

/** The text of an error that virsh reports, or undefined for any other line (those of libvirt's own log, for one). */
export function errorLine(line: string): string | undefined {
  return /^error: (.*)$/.exec(line)?.[1];
}

const MARK = /kdump-hotplug-end-(\d+)/;

/**
 * A line that ends the command before it: virsh knows no such command, and says so on stderr, where errors go. (`echo`
 * would do for stdout only: its `--err` is younger than some libvirts.)
 */
export function endMark(number: number): string {
  return `kdump-hotplug-end-${number}`;
}

/** The number of an end mark in a line of stderr; undefined where it has none. */
export function markIn(line: string): number | undefined {
  const digits = MARK.exec(line)?.[1];
  return digits === undefined ? undefined : Number(digits);
}
