/** The port through which other programs are run, and its real side. */
import { spawn } from "node:child_process";

/** How a program is run. */
export interface RunOptions {
  /** What is being waited for, in words: `apt-get update of trixie`. It appears in errors. */
  readonly purpose: string;
  /** The program is stopped after this many seconds. */
  readonly limitSeconds: number;
  readonly cwd?: string;
  /** Added to this process's own environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  /** How the program is asked to stop; `SIGKILL` follows where that does not help. Default `SIGTERM`. */
  readonly stopSignal?: NodeJS.Signals;
  /** Seconds from `stopSignal` to `SIGKILL`. Default 5. */
  readonly graceSeconds?: number;
}

/** How a program ended. */
export interface RunResult {
  /** The exit status; 128 + the signal's number is not mapped: a program that died of a signal has -1. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a program to its end. An exit status that is not zero is a result, not an error.
 *
 * @throws {RunError} where the program does not start or exceeds its limit.
 * @throws the signal's reason where the signal aborted; the program has ended by then.
 */
export type Run = (command: string, args: readonly string[], options: RunOptions) => Promise<RunResult>;

/** A program did not start, or did not end in time. */
export class RunError extends Error {
  override readonly name = "RunError";
}

/** More output than this is not kept: the programs run here print a few hundred KiB at most. */
const OUTPUT_LIMIT = 16 * 1024 * 1024;

/** Runs programs of this machine. Their messages are English, whatever the user's locale. */
export const runProgram: Run = async (command, args, options) => {
  options.signal?.throwIfAborted();
  return new Promise<RunResult>((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: { ...process.env, LC_ALL: "C", LANGUAGE: "C", ...options.env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const output = { stdout: "", stderr: "" };
    let failure: unknown;
    let killTimer: NodeJS.Timeout | undefined;

    const stop = (why: unknown): void => {
      if (failure !== undefined) return;
      failure = why;
      child.kill(options.stopSignal ?? "SIGTERM");
      killTimer = setTimeout(() => child.kill("SIGKILL"), (options.graceSeconds ?? 5) * 1000);
    };
    const limit = setTimeout(() => {
      stop(new RunError(`Waited ${options.limitSeconds} s for ${options.purpose}: stopped it`));
    }, options.limitSeconds * 1000);
    const onAbort = (): void => stop(options.signal?.reason);
    options.signal?.addEventListener("abort", onAbort, { once: true });
    const release = (): void => {
      clearTimeout(limit);
      clearTimeout(killTimer);
      options.signal?.removeEventListener("abort", onAbort);
    };

    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8");
      child[name].on("data", (text: string) => {
        if (output[name].length < OUTPUT_LIMIT) output[name] += text;
      });
    }
    child.once("error", (cause) => {
      release();
      reject(new RunError(`Cannot run ${command} for ${options.purpose}: ${cause.message}`, { cause }));
    });
    child.once("exit", () => {
      // A grandchild that outlives a stopped program may hold the pipes open: nobody waits for it.
      if (failure === undefined) return;
      child.stdout.destroy();
      child.stderr.destroy();
    });
    child.once("close", (code) => {
      release();
      if (failure === undefined) resolve({ code: code ?? -1, ...output });
      else reject(failure instanceof Error ? failure : new Error("Interrupted", { cause: failure }));
    });
  });
};
