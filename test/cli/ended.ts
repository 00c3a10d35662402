/** Runs a command line in this process. */
import { run } from "../../src/cli/run.ts";

/** What came of it. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs it to its end, undisturbed. */
export async function ended(...args: readonly string[]): Promise<Ended> {
  let stdout = "";
  let stderr = "";
  const print = (text: string): void => void (stdout += text);
  const say = (line: string): void => void (stderr += `${line}\n`);
  const code = await run(args, { print, say, signal: new AbortController().signal }, "1.2.3");
  return { code, stdout, stderr };
}
