/** Runs the real program, built before, as a child process. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import * as v from "valibot";
import { expect } from "vitest";

const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
/** No command of these tests takes as long, unless the test says so. */
const LIMIT_MS = 60_000;

/** How a run of the program ended. */
export interface CliResult {
  /** Exit code; null where a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly ms: number;
}

/** A run that is under way. */
export interface CliRun {
  readonly child: ChildProcessByStdio<null, Readable, Readable>;
  readonly pid: number;
  /** Rejects where the limit passes; the program is killed then. */
  readonly result: Promise<CliResult>;
}

/** Starts `kdump-hotplug ARGS`. @param cwd where; here unless told. */
export function startCli(
  args: readonly string[],
  limitMs: number = LIMIT_MS,
  env: Readonly<Record<string, string>> = {},
  cwd?: string,
): CliRun {
  if (!existsSync(MAIN)) throw new Error(`There is no ${MAIN}: run "npm run build" first`);
  const started = performance.now();
  const child = spawn(process.execPath, [MAIN, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
    cwd,
  });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (bytes: Buffer) => (stdout += bytes.toString()));
  child.stderr.on("data", (bytes: Buffer) => (stderr += bytes.toString()));
  const result = new Promise<CliResult>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      reject(
        new Error(`kdump-hotplug ${args.join(" ")} did not end within ${limitMs} ms: ${stdout}${stderr}`),
      );
    }, limitMs);
    child.once("error", reject);
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, stdout, stderr, ms: performance.now() - started });
    });
  });
  if (child.pid === undefined) throw new Error("Node could not be started");
  return { child, pid: child.pid, result };
}

/** Runs `kdump-hotplug ARGS` to its end. */
export async function cli(...args: readonly string[]): Promise<CliResult> {
  return startCli(args).result;
}

/** What a run with `--json` printed. */
export interface CliJson {
  readonly code: number | null;
  readonly json: Fields;
  readonly stderr: string;
}

type Fields = Readonly<Record<string, unknown>>;

/** `value` as an object, which it must be. */
export function fieldsOf(value: unknown): Fields {
  return v.parse(v.record(v.string(), v.unknown()), value);
}

/** Runs it with `--json` and reads what it prints: one document with a schemaVersion. */
export async function cliJson(...args: readonly string[]): Promise<CliJson> {
  const { code, stdout, stderr } = await cli(...args, "--json");
  const json: unknown = JSON.parse(stdout === "" ? "null" : stdout);
  expect.soft(json, stderr).toMatchObject({ schemaVersion: 1 });
  return { code, json: fieldsOf(json), stderr };
}

/** Checks that a run ended with `code` and told why in one sentence: one line, no stack trace. */
export function expectOneSentence(result: CliResult, code: number): void {
  expect.soft(result.code, result.stderr).toBe(code);
  expect.soft(result.stderr.trim().split("\n"), result.stderr).toHaveLength(1);
  expect.soft(result.stderr.trim().length).toBeGreaterThan(20);
  expect.soft(result.stderr).not.toMatch(/^\s+at |node:internal|\.[jt]s:\d+/m);
}
