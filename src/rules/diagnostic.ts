/** What udev, or `udevadm verify`, says about a line of rules. */

/**
 * How much it matters.
 *
 * - `error`: the line, the token or the file is dropped or cut.
 * - `warning`: udev does something else than what is written.
 * - `style`: only `udevadm verify` (v254 on) minds.
 */
export type Severity = "error" | "warning" | "style";

/** One remark on one place. */
export interface Diagnostic {
  readonly severity: Severity;
  readonly path: string;
  /** From 1; a line that was continued has the number of its last physical line, as in udev. 0: the whole file. */
  readonly line: number;
  readonly message: string;
}

/** `FILE:LINE MESSAGE`, as v257 prints it. */
export function formatDiagnostic({ path, line, message }: Diagnostic): string {
  return line === 0 ? `${path}: ${message}` : `${path}:${line} ${message}`;
}
