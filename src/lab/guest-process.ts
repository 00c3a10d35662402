/**
 * Programs in a guest whose standard output and standard error are kept apart, and that may run beside other commands.
 *
 * The agent serves one line of shell at a time, so a program is started in the background, in a session of its own; its
 * output goes to files in the guest, and is fetched when it is asked for. Nothing of it outlives the guest.
 */
import { setTimeout as delay } from "node:timers/promises";
import { gunzipSync } from "node:zlib";
import type { AgentChannel } from "./channel.ts";
import { GuestProgramError } from "./errors.ts";
import { quoted } from "./shell.ts";

/** What a program has printed. */
export interface GuestOutput {
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
}

/** How a program ended. */
export interface GuestProgramEnd extends GuestOutput {
  /** Exit code; of a program that a signal ended, 128 and the signal's number, as a shell gives it. */
  readonly status: number;
}

/** Signals that are sent to programs; the names are POSIX's. */
export type GuestSignal = "HUP" | "INT" | "KILL" | "QUIT" | "STOP" | "CONT" | "TERM" | "USR1" | "USR2";

/** Where the guest keeps what programs print: in memory. */
const DIRECTORY = "/tmp/program.XXXXXX";
/** Bytes of stdout and stderr together. */
const MAX_OUTPUT = 8 * 1024 * 1024;
/** Text leaves some hundreds of KiB for the serial line. */
const OUTPUT_TIMEOUT_MS = 120_000;
/** Seconds that one look for the end may hold the agent, which serves nobody else meanwhile. */
const LOOK_SECONDS = 1;
const POLL_MS = 100;
/** A program that was killed has ended by then. */
const KILL_LIMIT_MS = 30_000;
const NEWLINE = 0x0a;

/** A program that was started in a guest. */
export class GuestProcess {
  /** The program and its arguments. */
  readonly argv: readonly string[];
  /** In the guest. */
  readonly pid: number;
  readonly #agent: AgentChannel;
  readonly #directory: string;
  #end: GuestProgramEnd | undefined;

  private constructor(agent: AgentChannel, argv: readonly string[], directory: string, pid: number) {
    this.#agent = agent;
    this.argv = argv;
    this.#directory = directory;
    this.pid = pid;
  }

  /**
   * Starts a program, with nothing on its standard input.
   *
   * @param argv the program, by its path or as found in PATH, and its arguments: no newlines in them.
   * @throws {GuestCommandError} where the guest cannot start anything. A program that is not there ends with 127.
   */
  static async start(agent: AgentChannel, argv: readonly string[]): Promise<GuestProcess> {
    // The inner shell tells its pid and becomes the program; the outer one waits for it. Neither may hold the agent's
    // serial line (3). What is waited for is told by FIFOs: nobody polls in the guest, and nobody takes CPU time from it.
    const inner = `setsid sh -c 'echo $$ >begun; exec "$@"' sh ${argv.map(quoted).join(" ")} >stdout 2>stderr`;
    const outer = `{ ${inner}; echo $? >status.new; mv status.new status; echo >ended; } </dev/null >/dev/null 2>&1 3>&- &`;
    const reply = await agent.output(
      `d=$(mktemp -d ${DIRECTORY}) && cd $d && mkfifo begun ended && { ${outer} } && read -t 30 pid <>begun && echo $d $pid`,
    );
    const [directory = "", pid] = reply.trim().split(" ");
    return new GuestProcess(agent, argv, directory, Number(pid));
  }

  /**
   * What it has printed so far.
   *
   * @throws {GuestProgramError} where that is more than the lab takes, 8 MiB.
   */
  async output(): Promise<GuestOutput> {
    if (this.#end) return this.#end;
    // Both may grow meanwhile, so their sizes are taken first. Compressed, because the serial line is slow.
    const sizes = "o=$(wc -c <stdout) && e=$(wc -c <stderr) && echo $o $e";
    const bytes = "{ head -c $o stdout; head -c $e stderr; } | gzip -1";
    const { status, output } = await this.#agent.run(
      `cd ${this.#directory} && ${sizes} && [ $((o+e)) -le ${MAX_OUTPUT} ] && ${bytes}`,
      OUTPUT_TIMEOUT_MS,
    );
    const end = output.indexOf(NEWLINE);
    const first = Buffer.from(output.subarray(0, end)).toString("latin1");
    const [stdoutSize = NaN, stderrSize = NaN] = first.split(" ").map(Number);
    if (status !== 0) {
      throw new GuestProgramError(
        stdoutSize + stderrSize > MAX_OUTPUT
          ? `${this.#name} printed ${stdoutSize} bytes and ${stderrSize} of errors, more than the lab takes (${MAX_OUTPUT})`
          : `Cannot read what ${this.#name} printed: ${first}`,
      );
    }
    const all = new Uint8Array(gunzipSync(output.subarray(end + 1)));
    return { stdout: all.slice(0, stdoutSize), stderr: all.slice(stdoutSize) };
  }

  /**
   * Waits until it has printed something that `pattern` matches, on either of its outputs.
   *
   * @throws {GuestProgramError} where it ends without, or the limit passes; it runs on then.
   */
  async printed(pattern: RegExp, limitMs: number): Promise<GuestOutput> {
    const deadline = performance.now() + limitMs;
    for (;;) {
      // Asked first: what it printed before its end counts.
      const status = await this.#status(0);
      const output = await this.output();
      if (pattern.test(text(output.stdout)) || pattern.test(text(output.stderr))) return output;
      if (status !== undefined)
        throw new GuestProgramError(
          `${this.#name} ended with status ${status} and never printed ${String(pattern)}: ${tail(output)}`,
        );
      if (performance.now() > deadline)
        throw new GuestProgramError(
          `${this.#name} did not print ${String(pattern)} within ${limitMs / 1000} s: ${tail(output)}`,
        );
      await delay(POLL_MS);
    }
  }

  /** Sends it a signal. @returns false where it had ended before. */
  async signal(name: GuestSignal): Promise<boolean> {
    if (this.#end) return false;
    const command = `cd ${this.#directory} && [ ! -e status ] && kill -${name} ${this.pid}`;
    return (await this.#agent.run(command)).status === 0;
  }

  /**
   * Waits for its end. Asked again, it says the same.
   *
   * @throws {GuestProgramError} where the limit passes; it is killed then, with all that it has started.
   */
  async end(limitMs: number): Promise<GuestProgramEnd> {
    if (this.#end) return this.#end;
    const status = await this.#awaitStatus(limitMs);
    const end = { status, ...(await this.output()) };
    this.#end = end;
    // It may still be full of what was printed, and the guest's memory is what is looked at here.
    await this.#agent.output(`rm -rf ${this.#directory}`);
    return end;
  }

  async #awaitStatus(limitMs: number): Promise<number> {
    const deadline = performance.now() + limitMs;
    for (;;) {
      const status = await this.#status(LOOK_SECONDS);
      if (status !== undefined) return status;
      if (performance.now() > deadline) break;
    }
    // Its session is its own, and so is its process group.
    await this.#agent.run(`kill -KILL -${this.pid}`);
    const killed = performance.now() + KILL_LIMIT_MS;
    while ((await this.#status(LOOK_SECONDS)) === undefined) {
      if (performance.now() > killed)
        throw new GuestProgramError(`${this.#name} could not be killed after ${limitMs / 1000} s`);
    }
    throw new GuestProgramError(
      `${this.#name} did not end within ${limitMs / 1000} s, and was killed: ${tail(await this.output())}`,
    );
  }

  /** Its status; undefined where it has not ended within as many seconds. */
  async #status(seconds: number): Promise<number | undefined> {
    const wait = seconds > 0 ? `{ [ -e status ] || read -t ${seconds} x <>ended; }; ` : "";
    const { status, output } = await this.#agent.run(
      `cd ${this.#directory} && ${wait}[ -e status ] && cat status`,
    );
    return status === 0 ? Number(Buffer.from(output).toString("latin1")) : undefined;
  }

  get #name(): string {
    return `In the guest, "${this.argv.join(" ").slice(0, 100)}"`;
  }
}

/**
 * Runs a program in a guest to its end.
 *
 * @param argv as {@link GuestProcess.start} takes it.
 * @throws {GuestProgramError} where the limit passes; it is killed then.
 */
export async function runProgram(
  agent: AgentChannel,
  argv: readonly string[],
  limitMs: number,
): Promise<GuestProgramEnd> {
  return (await GuestProcess.start(agent, argv)).end(limitMs);
}

/** What a program printed, read as UTF-8. */
export function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("utf8");
}

function tail({ stdout, stderr }: GuestOutput): string {
  return (text(stdout) + text(stderr)).trim().slice(-500) || "it printed nothing";
}
