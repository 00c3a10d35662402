/** One memory block's file, opened: reads and writes that the guest sees at once. */
import { closeSync, fstatSync, openSync, readSync, writeSync } from "node:fs";

/** One system call copies at most this much; Linux stops at 2 GiB anyway (read(2)). */
const CHUNK = 64 * 1024 * 1024;

/** A shared file ended early or could not be written: it is not (any more) the guest's RAM. */
export class SharedBlockError extends Error {
  override readonly name = "SharedBlockError";
}

/** What tells one file from another while both exist. */
export interface FileIdentity {
  readonly inode: bigint;
  readonly device: bigint;
}

/** An open RAM file. Offsets are those in the memory block. */
export class SharedBlock implements FileIdentity {
  readonly path: string;
  readonly inode: bigint;
  readonly device: bigint;
  /** Bytes of the file. */
  readonly fileSize: bigint;
  /** Where in the file the block begins, bytes. */
  readonly fileOffset: bigint;
  readonly #fd: number;
  #open = true;

  private constructor(path: string, fd: number, fileOffset: bigint) {
    this.path = path;
    this.#fd = fd;
    this.fileOffset = fileOffset;
    const found = fstatSync(fd, { bigint: true });
    this.inode = found.ino;
    this.device = found.dev;
    this.fileSize = found.size;
    if (!found.isFile()) {
      closeSync(fd);
      throw new SharedBlockError(`"${path}" is not a file`);
    }
  }

  /**
   * @param path a file, or a link of /proc/PID/fd that leads to one.
   * @param fileOffset where in the file the block begins, bytes.
   */
  static open(path: string, fileOffset: bigint): SharedBlock {
    return new SharedBlock(path, openSync(path, "r+"), fileOffset);
  }

  /** Fills `into` from `offset`. @throws {SharedBlockError} where the file ends before. */
  read(offset: bigint, into: Uint8Array): void {
    let at = 0;
    while (at < into.length) {
      const count = Math.min(CHUNK, into.length - at);
      const got = readSync(this.#fd, into, at, count, this.fileOffset + offset + BigInt(at));
      if (got === 0) throw this.#ended(offset + BigInt(at));
      at += got;
    }
  }

  /** Writes all of `bytes` at `offset`; never makes the file longer. */
  write(offset: bigint, bytes: Uint8Array): void {
    const end = this.fileOffset + offset + BigInt(bytes.length);
    if (end > this.fileSize) throw this.#ended(offset + BigInt(bytes.length));
    let at = 0;
    while (at < bytes.length) {
      const position = Number(this.fileOffset + offset) + at;
      const put = writeSync(this.#fd, bytes, at, Math.min(CHUNK, bytes.length - at), position);
      if (put === 0) throw this.#ended(offset + BigInt(at));
      at += put;
    }
  }

  close(): void {
    if (this.#open) closeSync(this.#fd);
    this.#open = false;
  }

  #ended(offset: bigint): SharedBlockError {
    return new SharedBlockError(`RAM file "${this.path}" ends before offset 0x${offset.toString(16)}`);
  }
}
