/** A command line that goes on in this process until it is told to end. */
import { vi } from "vitest";
import { Interrupted } from "../../src/cli/context.ts";
import { run } from "../../src/cli/run.ts";

/** One that is under way; it is interrupted at the end of the block. */
export class UnderWay implements AsyncDisposable {
  stdout = "";
  stderr = "";
  /** Settles with the exit code. */
  readonly code: Promise<number>;
  readonly #stop = new AbortController();
  #hangup: (() => void) | undefined;

  constructor(...args: readonly string[]) {
    const context = {
      print: (text: string) => void (this.stdout += text),
      say: (line: string) => void (this.stderr += `${line}\n`),
      signal: this.#stop.signal,
      onHangup: (again: () => void) => {
        this.#hangup = again;
        return { [Symbol.dispose]: () => (this.#hangup = undefined) };
      },
    };
    this.code = run(args, context, "1.2.3");
  }

  /** SIGHUP. */
  hangUp(): void {
    if (!this.#hangup) throw new Error("SIGHUP would end it");
    this.#hangup();
  }

  /** Ctrl-C. @returns the exit code. */
  async interrupt(): Promise<number> {
    this.#stop.abort(new Interrupted("Interrupted by SIGTERM"));
    return await this.code;
  }

  /** Waits until stdout has `words` so many times. */
  async until(words: RegExp, times = 1): Promise<void> {
    const all = new RegExp(words.source, "gm");
    await this.#wait(() => (this.stdout.match(all) ?? []).length >= times, words);
  }

  /** Waits until stderr has `words`. */
  async said(words: RegExp): Promise<void> {
    await this.#wait(() => words.test(this.stderr), words);
  }

  async #wait(enough: () => boolean, words: RegExp): Promise<void> {
    try {
      await vi.waitUntil(enough, { timeout: 40_000, interval: 2 });
    } catch (error) {
      throw new Error(`${words} did not come in 40 s:\n${this.stdout}${this.stderr}`, { cause: error });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.interrupt();
  }
}
