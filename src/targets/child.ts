/** Child processes, as far as Node does not say it in one word. */
import type { ChildProcess } from "node:child_process";

/** Whether `child` has ended, by itself or by a signal: it has an exit code only in the one case. */
export function hasExited({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}
