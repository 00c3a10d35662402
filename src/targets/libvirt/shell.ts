/**
 * One virsh in interactive mode, which takes commands one after the other.
 *
 * A process for each command costs 20 to 40 ms of processor time and a new connection to libvirt; here a command is a line
 * (measured: docs/libvirt.md). virsh is in a session of its own, so that Ctrl-C on our terminal does not reach it.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";

import { LineError } from "../qemu/line-parser.ts";
import { readLines } from "./read-lines.ts";
import { QmpTimeoutError, withCallSite } from "../qemu/qmp-errors.ts";
import { VirshEndedError, VirshRefusal } from "./error.ts";
import { codeOf } from "../qemu/unix-socket.ts";
import { endMark, errorLine, markIn, resultLine } from "./shell-output.ts";
import { hasExited } from "../child.ts";

/** How long a libvirt that does not answer is given to do what virsh was told, after we have gone. */
const HOLD_SECONDS = 3600;
/** How long virsh may take to end when its input has ended. */
const END_MS = 1000;

/** What a command prints: one line, or nothing where it succeeds. */
export type Expected = "line" | "nothing";

interface Task {
  readonly line: string;
  readonly expected: Expected;
  readonly resolve: (line: string) => void;
  readonly reject: (error: Error) => void;
  readonly errors: string[];
  number: number;
  /** Its result has come. */
  answered: boolean;
  /** virsh has done with it: whatever it had to say on stderr has come. */
  marked: boolean;
}

/** A virsh that runs. Close it. */
export class VirshShell implements AsyncDisposable {
  /** Settles when virsh has ended, with the reason. Never rejects. */
  readonly ended: Promise<VirshEndedError>;

  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #waiting: Task[] = [];
  #current: Task | undefined;
  #count = 0;
  #reason: VirshEndedError | undefined;
  #lastWords = "";
  #isLeft = false;
  #settleEnded: (reason: VirshEndedError) => void = () => {};

  private constructor(child: ChildProcessByStdio<Writable, Readable, Readable>) {
    this.#child = child;
    this.ended = new Promise((resolve) => {
      this.#settleEnded = resolve;
    });
    const broken = (error: unknown): void => this.#broken(error);
    readLines(child.stdout, (line) => this.#onStdout(line), broken);
    readLines(child.stderr, (line) => this.#onStderr(line), broken);
    // What cannot be written to a virsh that has ended is told by its end.
    child.stdin.on("error", () => undefined);
    child.on("error", (error) => {
      const missing = codeOf(error) === "ENOENT";
      this.#end(new VirshEndedError(`virsh cannot be run: ${error.message}`, missing));
    });
    // Not "exit": what it said last is still to be read then.
    child.on("close", (code, signal) => {
      const how = signal === null ? `with status ${code}` : `by ${signal}`;
      const words = this.#lastWords === "" ? "" : `: ${this.#lastWords}`;
      this.#end(new VirshEndedError(`virsh ended ${how}${words}`, false));
    });
  }

  /** Starts virsh, as PATH of `env` has it. That there is none is told by the first command. */
  static start(env: NodeJS.ProcessEnv): VirshShell {
    return new VirshShell(
      spawn("virsh", ["--quiet"], { env, detached: true, stdio: ["pipe", "pipe", "pipe"] }),
    );
  }

  /** virsh's process number. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  get isOpen(): boolean {
    return this.#reason === undefined;
  }

  /**
   * Runs one command line, after those that were given before; also one whose caller has given up is run.
   *
   * @param line from {@link virshLine}.
   * @returns the line that it printed; empty where nothing was expected.
   * @throws {VirshRefusal} with what virsh said; {VirshEndedError}; {QmpTimeoutError} where it takes longer than
   *   `timeoutMs`, the wait for others included.
   */
  ask(line: string, expected: Expected, timeoutMs: number): Promise<string> {
    const at = new Error("call site");
    return new Promise((resolve, reject) => {
      if (this.#reason !== undefined) {
        reject(withCallSite(new VirshEndedError(this.#reason.message, this.#reason.missing), at));
        return;
      }
      const timer = setTimeout(() => {
        const command = line.slice(0, 60);
        reject(
          withCallSite(
            new QmpTimeoutError(
              `libvirt did not answer "${command}" within ${timeoutMs} ms: it or its guest hangs, or is very busy`,
              timeoutMs,
            ),
            at,
          ),
        );
      }, timeoutMs);
      this.#waiting.push({
        line,
        expected,
        resolve: (result) => {
          clearTimeout(timer);
          resolve(result);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(withCallSite(error, at));
        },
        errors: [],
        number: 0,
        answered: false,
        marked: false,
      });
      this.#next();
    });
  }

  /** Ends virsh, unless it was left; what is pending is rejected. Never throws, may be called twice. */
  async close(): Promise<void> {
    if (this.#isLeft) return;
    const busy = this.#current !== undefined;
    this.#end(new VirshEndedError("We ended virsh", false));
    const child = this.#child;
    if (child.pid === undefined || hasExited(child)) return;
    await new Promise<void>((resolve) => {
      // One that waits for libvirt would not look at its input.
      const timer = setTimeout(() => child.kill("SIGKILL"), busy ? 0 : END_MS);
      child.once("exit", () => {
        clearTimeout(timer);
        resolve();
      });
      child.stdin.end();
    });
  }

  /**
   * Lets virsh go on by itself: it does what it was told, whenever libvirt answers, then it ends. Somebody has to hold
   * the other end of its output meanwhile, and our process may end: a child does, at most an hour.
   */
  leave(): void {
    if (this.#reason !== undefined) return;
    this.#isLeft = true;
    const child = this.#child;
    for (const task of this.#waiting) child.stdin.write(`${task.line}\n`);
    child.stdin.end();
    const holder = spawn("timeout", [String(HOLD_SECONDS), "cat"], {
      stdio: [child.stdout, "ignore", child.stderr],
      detached: true,
    });
    holder.on("error", () => undefined);
    holder.unref();
    child.unref();
    this.#end(new VirshEndedError("We left a virsh that libvirt does not answer", false));
    child.stdout.destroy();
    child.stderr.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #next(): void {
    if (this.#current !== undefined || this.#reason !== undefined) return;
    const task = this.#waiting.shift();
    if (task === undefined) return;
    this.#current = task;
    task.number = ++this.#count;
    this.#child.stdin.write(`${task.line}\n${endMark(task.number)}\n`);
  }

  #onStdout(line: string): void {
    const task = this.#current;
    if (task === undefined || task.expected === "nothing" || task.answered) return;
    const result = resultLine(line, task.line);
    if (result === undefined || markIn(result) !== undefined) return;
    task.answered = true;
    task.resolve(result);
    this.#finishIfDone(task);
  }

  #onStderr(line: string): void {
    const words = errorLine(line);
    if (words === undefined) return;
    const task = this.#current;
    const mark = markIn(words);
    if (mark === undefined) {
      this.#lastWords = words;
      task?.errors.push(words);
      return;
    }
    if (task === undefined || task.number !== mark) return;
    task.marked = true;
    if (task.answered) {
      // A result came: what else virsh said (that it had to connect again, for one) is no failure.
    } else if (task.errors.length > 0) {
      task.answered = true;
      task.reject(new VirshRefusal(task.errors.join(": ")));
    } else if (task.expected === "nothing") {
      task.answered = true;
      task.resolve("");
    }
    this.#finishIfDone(task);
  }

  /** stdout and stderr are two: which of them is read first does not matter. */
  #finishIfDone(task: Task): void {
    if (!task.answered || !task.marked) return;
    this.#current = undefined;
    this.#next();
  }

  #broken(error: unknown): void {
    if (!(error instanceof LineError)) throw error;
    this.#end(new VirshEndedError(`virsh printed what cannot be read: ${error.message}`, false));
    this.#child.kill("SIGKILL");
  }

  #end(reason: VirshEndedError): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    const tasks = [...(this.#current ? [this.#current] : []), ...this.#waiting.splice(0)];
    this.#current = undefined;
    for (const task of tasks)
      if (!task.answered) task.reject(new VirshEndedError(reason.message, reason.missing));
    this.#settleEnded(reason);
  }
}
