/** Runs virsh once, for one command. */
import { spawn } from "node:child_process";

import { QmpTimeoutError } from "../qemu/qmp-errors.ts";
import { codeOf } from "../qemu/unix-socket.ts";
import { VirshEndedError, VirshRefusal } from "./error.ts";
import { errorLine } from "./shell-output.ts";

export interface RunOptions {
  readonly env: NodeJS.ProcessEnv;
  /** Milliseconds; virsh is killed then. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** Far more than the names of all domains that a host can run. */
const OUTPUT_LIMIT = 4 * 1024 * 1024;

/**
 * Runs `virsh ARGS`, without a shell.
 *
 * @returns what it printed.
 * @throws {VirshRefusal} where it fails, with what it said; {VirshEndedError} where it cannot be run or is killed;
 *   {QmpTimeoutError} where it takes too long; the signal's reason.
 */
export async function runVirsh(args: readonly string[], options: RunOptions): Promise<string> {
  const { env, timeoutMs, signal } = options;
  signal?.throwIfAborted();
  const child = spawn("virsh", ["--quiet", ...args], {
    env,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  const stop = (): void => void child.kill("SIGKILL");
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
    if (stdout.length > OUTPUT_LIMIT) stop();
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr = (stderr + text).slice(-4000)));
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    stop();
  }, timeoutMs);
  signal?.addEventListener("abort", stop, { once: true });
  try {
    const status = await new Promise<number | NodeJS.Signals | null>((resolve, reject) => {
      child.once("error", (error) =>
        reject(new VirshEndedError(`virsh cannot be run: ${error.message}`, codeOf(error) === "ENOENT")),
      );
      child.once("close", (code, killer) => resolve(killer ?? code));
    });
    signal?.throwIfAborted();
    if (isLate)
      throw new QmpTimeoutError(
        `libvirt did not answer "virsh ${args.join(" ")}" within ${timeoutMs} ms`,
        timeoutMs,
      );
    if (status === 0) return stdout;
    if (typeof status === "string") throw new VirshEndedError(`virsh ended by ${status}`, false);
    const words = stderr.split("\n").flatMap((line) => errorLine(line) ?? []);
    throw new VirshRefusal(
      words.length > 0 ? words.join(": ") : `virsh ended with status ${status}: ${stderr.trim()}`,
    );
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}
