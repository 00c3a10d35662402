/**
 * The journal's file: lines are appended in order, synced together, and rotated by size.
 *
 * A disk that is full, slow or gone is never the keeper's trouble: what cannot be written waits, then is counted as
 * lost, and is tried again. That is said once, and once more when it is over.
 */
import { constants } from "node:fs";
import { type FileHandle, mkdir, open, stat } from "node:fs/promises";
import { join } from "node:path";
import {
  identityOf,
  isExisting,
  journalFileName,
  messageOf,
  renameByAge,
  syncDirectory,
  tornBytes,
} from "./files.ts";
import { type Appended, type Line, WaitingLines } from "./lines.ts";

/** How a journal is kept. */
export interface JournalFileOptions {
  readonly directory: string;
  /** A file that has reached this is renamed, and a new one begun. */
  readonly maxBytes: number;
  /** Files that are kept, the one that is written included. */
  readonly files: number;
  /** Lines that wait for the disk at most; then the oldest ones are lost. */
  readonly maxWaiting: number;
  /** Between two tries where nothing can be written, ms. */
  readonly retryMs: number;
  /** Told of trouble, one line. */
  readonly say: (line: string) => void;
  /** The lines with which a new file begins. */
  readonly head: () => readonly string[];
  /** The line that says that `count` lines are missing before it. */
  readonly lost: (count: number, reason: string) => string;
}

/** Entries that are not where they should be. */
export interface JournalLag {
  /** Lines that wait for the disk. */
  readonly waiting: number;
  /** Lines that were given up since the journal was opened. */
  readonly lost: number;
}

export class JournalFile {
  readonly #options: JournalFileOptions;
  readonly #path: string;
  /** We have written to a file before the one that is open now. */
  #isLater = false;
  readonly #waiting: WaitingLines;
  #handle: FileHandle | undefined;
  #identity = "";
  #size = 0;
  /** The end of the file is not the end of a line. */
  #torn = false;
  #trouble: string | undefined;
  #syncTrouble = false;
  #rotateTrouble = false;
  #working: Promise<void> | undefined;
  #unsynced: Line[] = [];
  #syncing: Promise<void> | undefined;
  #closing = false;
  #wake: (() => void) | undefined;

  constructor(options: JournalFileOptions) {
    this.#options = options;
    this.#path = join(options.directory, journalFileName(0));
    this.#waiting = new WaitingLines(options.maxWaiting);
  }

  get lag(): JournalLag {
    return { waiting: this.#waiting.size, lost: this.#waiting.lost };
  }

  /** Why nothing can be written now; undefined where it can. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /**
   * Opens the file ahead of the first line, and closes a line that a crash has left without its end.
   *
   * @returns bytes of that line; 0 where there is none, or where the file cannot be opened (which is said).
   */
  async prepare(): Promise<number> {
    try {
      return await this.#ensureOpen();
    } catch (error) {
      this.#inTrouble(error);
      return 0;
    }
  }

  /** Appends `text`, one line with its newline. @param durable whether the disk is waited for. */
  append(text: string, durable: boolean): Appended {
    const appended = this.#waiting.add(text, durable);
    // While nothing can be written nobody waits for it.
    if (this.#trouble !== undefined) this.#waiting.release();
    this.#waiting.trim();
    this.#working ??= this.#work().finally(() => (this.#working = undefined));
    return appended;
  }

  /** Writes and syncs what waits, as far as that is possible at once, and closes the file. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#wake?.();
    await this.#working;
    await this.#syncing;
    await this.#handle?.close().catch(() => undefined);
    this.#handle = undefined;
  }

  async #work(): Promise<void> {
    while (this.#waiting.size > 0) {
      try {
        await this.#ensureOpen();
        await this.#rotateIfFull();
        await this.#writeBatch();
        this.#outOfTrouble();
        this.#sync();
      } catch (error) {
        this.#inTrouble(error);
        this.#waiting.release();
        this.#waiting.trim();
        if (this.#closing) return;
        await this.#pause(this.#options.retryMs);
      }
    }
  }

  /** Writes the oldest lines, and before them the one that says how many are missing. */
  async #writeBatch(): Promise<void> {
    const batch = this.#waiting.batch();
    const { missing } = this.#waiting;
    const reason = this.#trouble ?? "too much at once";
    const first = [
      this.#torn ? "\n" : "",
      ...(this.#size === 0 && this.#isLater ? this.#options.head() : []),
      missing > 0 ? this.#options.lost(missing, reason) : "",
    ];
    await this.#writeAll(Buffer.from([...first, ...batch.map(({ text }) => text)].join("")));
    this.#torn = false;
    this.#isLater = true;
    this.#waiting.missing -= missing;
    this.#waiting.remove(batch);
    for (const line of batch) line.written(true);
    this.#unsynced.push(...batch);
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    const handle = this.#handle!;
    let at = 0;
    try {
      while (at < bytes.length) {
        const { bytesWritten } = await handle.write(bytes, at, bytes.length - at);
        if (bytesWritten === 0) throw new Error("nothing was written");
        at += bytesWritten;
      }
    } catch (error) {
      // Half a line must not be the beginning of another one.
      if (at > 0) await handle.truncate(this.#size).catch(() => (this.#torn = true));
      throw error;
    }
    this.#size += bytes.length;
  }

  /** @returns bytes of an unfinished line that it has closed. */
  async #ensureOpen(): Promise<number> {
    if (this.#handle) {
      // Somebody may have removed or renamed it, with its directory or without.
      const found = await stat(this.#path).catch(() => undefined);
      if (found && identityOf(found) === this.#identity) return 0;
      const handle = this.#handle;
      this.#handle = undefined;
      await this.#syncing;
      await handle.close().catch(() => undefined);
    }
    // Only the last part: a missing parent is a file system that is not mounted, more likely than a wish.
    await mkdir(this.#options.directory, { mode: 0o700 }).catch((error: unknown) => {
      if (!isExisting(error)) throw error;
    });
    const flags = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT;
    const handle = await open(this.#path, flags, 0o600);
    try {
      const found = await handle.stat();
      this.#identity = identityOf(found);
      this.#size = found.size;
      this.#handle = handle;
      if (found.size === 0) {
        await syncDirectory(this.#options.directory);
        return 0;
      }
      return await this.#closeTornLine(handle);
    } catch (error) {
      this.#handle = undefined;
      await handle.close().catch(() => undefined);
      throw error;
    }
  }

  async #closeTornLine(handle: FileHandle): Promise<number> {
    const torn = await tornBytes(handle, this.#size);
    this.#torn = torn > 0;
    if (torn === 0) return 0;
    await this.#writeAll(Buffer.from("\n"));
    this.#torn = false;
    this.#options.say(
      `Journal "${this.#path}" ended within an entry (its last ${torn} bytes): that line was closed and is kept; a crash or a full disk leaves such`,
    );
    return torn;
  }

  async #rotateIfFull(): Promise<void> {
    const { directory, files, maxBytes, head } = this.#options;
    if (this.#size < maxBytes) return;
    // A file that begins with more than it may hold would be full again at once.
    if (this.#size <= head().reduce((sum, line) => sum + Buffer.byteLength(line), 0)) return;
    await this.#syncing;
    const handle = this.#handle!;
    await handle.datasync().catch(() => undefined);
    try {
      await renameByAge(directory, files);
      this.#rotateTrouble = false;
    } catch (error) {
      // Better a file that is too large than none.
      if (!this.#rotateTrouble) {
        this.#options.say(
          `Journal "${this.#path}" cannot be rotated (${messageOf(error)}): it grows beyond ${maxBytes} bytes; see to the permissions of its directory`,
        );
      }
      this.#rotateTrouble = true;
      return;
    }
    this.#handle = undefined;
    await handle.close().catch(() => undefined);
    await this.#ensureOpen();
  }

  /** One sync for all that was written before it; what comes meanwhile has the next one. */
  #sync(): void {
    this.#syncing ??= this.#syncAll().finally(() => (this.#syncing = undefined));
  }

  async #syncAll(): Promise<void> {
    while (this.#unsynced.length > 0) {
      const lines = this.#unsynced;
      this.#unsynced = [];
      let done = true;
      if (lines.some(({ durable }) => durable)) {
        try {
          await this.#handle?.datasync();
          this.#syncTrouble = false;
        } catch (error) {
          done = false;
          if (!this.#syncTrouble)
            this.#options.say(
              `Journal "${this.#path}" cannot be synced (${messageOf(error)}): its last entries may be lost if the host crashes`,
            );
          this.#syncTrouble = true;
        }
      }
      for (const line of lines) line.synced(done);
    }
  }

  #inTrouble(error: unknown): void {
    const message = messageOf(error);
    if (this.#trouble === undefined) {
      this.#options.say(
        `Journal "${this.#path}" cannot be written (${message}): guests are kept all the same, up to ${this.#options.maxWaiting} entries wait, more are lost; free space or restore the directory, it is tried again`,
      );
    }
    this.#trouble = message;
  }

  #outOfTrouble(): void {
    if (this.#trouble === undefined) return;
    this.#trouble = undefined;
    this.#options.say(
      `Journal "${this.#path}" is written again; ${this.#waiting.lost === 0 ? "no entry was lost" : `${this.#waiting.lost} entries were lost since it was opened`}`,
    );
  }

  async #pause(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      timer.unref();
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
  }
}
