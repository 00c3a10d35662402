/** A virsh that tells of events of a domain, as long as it runs. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { access, constants } from "node:fs/promises";
import { delimiter, join } from "node:path";
import type { Readable } from "node:stream";

import { LineError } from "../qemu/line-parser.ts";
import { QmpTimeoutError } from "../qemu/qmp-errors.ts";
import { codeOf } from "../qemu/unix-socket.ts";
import { VirshEndedError } from "./error.ts";
import { EventLineError } from "./event-line.ts";
import { readLines } from "./read-lines.ts";
import { errorLine } from "./shell-output.ts";
import { virshLine } from "./words.ts";
import { hasExited } from "../child.ts";

/** Which events, and who takes them. */
export interface EventReaderOptions {
  /** The domain's number. */
  readonly id: string;
  /** The command that tells them, without the domain. */
  readonly command: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** Reads a line that virsh printed. @throws {EventLineError} where it cannot be read: virsh is ended then. */
  readonly onLine: (line: string) => void;
  /** Limit for virsh's connection to libvirt, milliseconds. */
  readonly timeoutMs: number;
}

/** Reads until virsh ends. Close it. */
export class EventReader {
  /** Settles when virsh has ended, with the reason. Never rejects. */
  readonly ended: Promise<VirshEndedError>;
  readonly #child: ChildProcessByStdio<null, Readable, Readable>;

  private constructor(child: ChildProcessByStdio<null, Readable, Readable>, ended: Promise<VirshEndedError>) {
    this.#child = child;
    this.ended = ended;
  }

  /**
   * Starts virsh, and waits until it is about to listen. (It does not say when it does: it names the domain first, which
   * takes the connection; then only one question lies between.)
   *
   * @throws {VirshEndedError} where it ends before, {QmpTimeoutError} where it does not come so far.
   */
  static async start(options: EventReaderOptions): Promise<EventReader> {
    const { id, command, env, timeoutMs } = options;
    const commands = `${virshLine("domname", id)}; ${virshLine(...command, "--domain", id)}`;
    const [program, args] = await withParent(env, "virsh", ["--quiet", commands]);
    const child = spawn(program, args, { env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
    let ended: Promise<VirshEndedError> | undefined;
    const isReady = new Promise<void>((resolve) => {
      ended = endOf(child, options, resolve);
    });
    const reader = new EventReader(child, ended!);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const sentence = `libvirt did not take us as a listener for events within ${timeoutMs} ms: it hangs or is very busy`;
        reject(new QmpTimeoutError(sentence, timeoutMs));
      }, timeoutMs);
    });
    try {
      const early = await Promise.race([isReady, reader.ended, late]);
      if (early instanceof VirshEndedError) throw early;
      return reader;
    } catch (error) {
      await reader.close();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** virsh's process number. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Ends virsh. Never throws, may be called twice. */
  async close(): Promise<void> {
    const child = this.#child;
    if (child.pid === undefined || hasExited(child)) return;
    const exited = new Promise((resolve) => child.once("exit", resolve));
    // It only listens: nothing is lost, and a virsh that hangs takes no other signal.
    child.kill("SIGKILL");
    await exited;
  }
}

function endOf(
  child: ChildProcessByStdio<null, Readable, Readable>,
  { onLine }: EventReaderOptions,
  ready: () => void,
): Promise<VirshEndedError> {
  let words = "";
  let broke: Error | undefined;
  let isFirst = true;
  readLines(
    child.stderr,
    (line) => {
      words = errorLine(line) ?? words;
    },
    broken,
  );
  readLines(
    child.stdout,
    (line) => {
      if (line === "" || broke !== undefined) return;
      if (isFirst) {
        isFirst = false;
        ready();
        return;
      }
      onLine(line);
    },
    broken,
  );
  return new Promise((resolve) => {
    child.on("error", (error) =>
      resolve(new VirshEndedError(`virsh cannot be run: ${error.message}`, codeOf(error) === "ENOENT")),
    );
    child.on("close", (code, signal) => {
      const how = signal === null ? `with status ${code}` : `by ${signal}`;
      const why = broke?.message ?? words;
      resolve(
        new VirshEndedError(
          `virsh, which told of events, ended ${how}${why === "" ? "" : `: ${why}`}`,
          false,
        ),
      );
    });
  });

  function broken(error: unknown): void {
    if (!(error instanceof LineError || error instanceof EventLineError)) throw error;
    broke ??= error;
    child.kill("SIGKILL");
  }
}

/**
 * The command that runs `program` so that it cannot outlive us, also where we are killed outright: it has no input whose
 * end would tell it. Where setpriv (util-linux) is missing it does, until it has an event to tell.
 */
async function withParent(
  env: NodeJS.ProcessEnv,
  program: string,
  args: readonly string[],
): Promise<readonly [string, readonly string[]]> {
  for (const directory of (env["PATH"] ?? "").split(delimiter)) {
    const setpriv = join(directory, "setpriv");
    const isThere = await access(setpriv, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return [setpriv, ["--pdeathsig", "KILL", program, ...args]];
  }
  return [program, args];
}
