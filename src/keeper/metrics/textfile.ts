/**
 * Metrics as a file for the node exporter's textfile collector. It is replaced by rename(2): whoever reads it sees
 * the whole old one or the whole new one.
 */
import { constants } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { MetricsSource } from "./service-metrics.ts";

/** The node exporter is scraped about that often. */
const EVERY_MS = 15_000;
/** A file system that hangs does not keep the keeper from ending. */
const LAST_WRITE_MS = 1000;
/** The node exporter runs as another user. */
const MODE = 0o644;

/** What is done to the file system; injected so that a test can let it fail. */
export interface TextfileSystem {
  open(
    path: string,
    flags: number,
    mode: number,
  ): Promise<Pick<FileHandle, "writeFile" | "sync" | "chmod" | "close">>;
  rename(from: string, to: string): Promise<void>;
  rm(path: string, options: { readonly force: true }): Promise<void>;
}

export interface TextfileOptions {
  readonly file: string;
  readonly metrics: MetricsSource;
  /** Told, in a sentence, what went wrong, and when it is over; the same trouble once. */
  readonly say: (sentence: string) => void;
  readonly everyMs?: number;
  readonly lastWriteMs?: number;
  readonly system?: TextfileSystem;
}

/** Writes at once, on a timer, and once more when it is disposed of. */
export class TextfileWriter implements AsyncDisposable {
  readonly #options: TextfileOptions;
  readonly #system: TextfileSystem;
  readonly #timer: NodeJS.Timeout;
  readonly #everyMs: number;
  #trouble: string | undefined;
  /** The write that is under way. */
  #writing: Promise<void> | undefined;

  constructor(options: TextfileOptions) {
    this.#options = options;
    this.#system = options.system ?? { open, rename, rm };
    this.#everyMs = options.everyMs ?? EVERY_MS;
    this.#timer = setInterval(() => void this.write(), this.#everyMs);
    // A keeper that has nothing else to do may end.
    this.#timer.unref();
    void this.write();
  }

  /** Writes what holds now; where a write is under way, waits for that one. Never throws. */
  async write(): Promise<void> {
    this.#writing ??= this.#attempt().finally(() => {
      this.#writing = undefined;
    });
    await this.#writing;
  }

  /** Ends it, after a last write that is not waited for longer than a second. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    const ms = this.#options.lastWriteMs ?? LAST_WRITE_MS;
    let timer: NodeJS.Timeout | undefined;
    const tooLong = new Promise<"too long">((resolve) => {
      timer = setTimeout(() => resolve("too long"), ms);
    });
    // The one that is under way may have read the metrics before the last of them.
    const last = (async () => {
      await this.#writing;
      await this.write();
    })();
    if ((await Promise.race([last, tooLong])) === "too long")
      this.#options.say(`The last metrics could not be written to "${this.#options.file}" within ${ms} ms`);
    clearTimeout(timer);
  }

  async #attempt(): Promise<void> {
    const { file, metrics, say } = this.#options;
    try {
      await replaceFile(this.#system, file, await metrics.text());
      if (this.#trouble !== undefined) say(`Metrics are written to "${file}" again`);
      this.#trouble = undefined;
    } catch (error) {
      const trouble = `Cannot write metrics to "${file}": ${reasonOf(error, file)}; it is tried again every ${this.#everyMs / 1000} s`;
      if (trouble !== this.#trouble) say(trouble);
      this.#trouble = trouble;
    }
  }
}

/** Not `*.prom`, which the collector would read; always the same, so that a killed keeper leaves one of them at most. */
function temporaryName(file: string): string {
  return join(dirname(file), `.${basename(file)}.new`);
}

async function replaceFile(system: TextfileSystem, file: string, text: string): Promise<void> {
  const temporary = temporaryName(file);
  // What lies there is a leftover, or a link that somebody hopes we follow.
  await system.rm(temporary, { force: true });
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  try {
    const handle = await system.open(temporary, flags, MODE);
    try {
      // The umask of a service keeps others from reading.
      await handle.chmod(MODE);
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await system.rename(temporary, file);
  } catch (error) {
    await system.rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
}

function reasonOf(error: unknown, file: string): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  switch (code) {
    case "ENOENT":
      return `there is no directory "${dirname(file)}" (ENOENT), create it`;
    case "ENOTDIR":
      return `"${dirname(file)}" is not a directory (ENOTDIR)`;
    case "EACCES":
      return `no permission to write in "${dirname(file)}" (EACCES)`;
    case "EROFS":
      return `"${dirname(file)}" cannot be written to (EROFS): a service needs it in ReadWritePaths=`;
    case "ENOSPC":
      return `no space is left (ENOSPC)`;
    case "EISDIR":
    case "ENOTEMPTY":
    case "EEXIST":
      return `a directory of that name is in the way (${code})`;
    default:
      return error instanceof Error ? error.message : String(error);
  }
}
