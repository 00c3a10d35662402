/** One memory block, opened as a file or in QEMU's own memory: reads and writes that the guest sees at once. */
import { closeSync, fstatSync, openSync, readSync, writeSync } from "node:fs";

/** One system call copies at most this much; Linux stops at 2 GiB anyway (read(2)). */
const CHUNK = 64 * 1024 * 1024;

/** It ended early or could not be written: it is not (any more) the guest's RAM. */
export class RamFileError extends Error {
  override readonly name = "RamFileError";
}

/** What tells one file from another while both exist. */
export interface FileIdentity {
  readonly inode: bigint;
  readonly device: bigint;
}

/** An open RAM file, or QEMU's memory. Offsets are those in the memory block. */
export class RamFile implements FileIdentity {
  readonly path: string;
  readonly inode: bigint;
  readonly device: bigint;
  /** As far as it may be written, bytes: a file's size, or where the block ends in QEMU's memory. */
  readonly fileSize: bigint;
  /** Where in the file the block begins, bytes. */
  readonly fileOffset: bigint;
  /** Whether it is QEMU's own memory. */
  readonly isProcess: boolean;
  readonly #fd: number;
  #open = true;

  private constructor(path: string, fd: number, fileOffset: bigint, end?: bigint) {
    this.isProcess = end !== undefined;
    this.path = path;
    this.#fd = fd;
    this.fileOffset = fileOffset;
    const found = fstatSync(fd, { bigint: true });
    this.inode = found.ino;
    this.device = found.dev;
    this.fileSize = end ?? found.size;
    if (!found.isFile()) {
      closeSync(fd);
      throw new RamFileError(`"${path}" is not a file`);
    }
  }

  /**
   * @param path a file, or a link of /proc/PID/fd that leads to one.
   * @param fileOffset where in the file the block begins, bytes.
   */
  static open(path: string, fileOffset: bigint): RamFile {
    return new RamFile(path, openSync(path, "r+"), fileOffset);
  }

  /**
   * Opens a block in the memory of the process that has it (/proc/PID/mem, proc_pid_mem(5)). What is open is that
   * memory, not the process number, which another process may get later.
   *
   * @param path of the `mem` file.
   * @param address where the block begins in that process.
   * @param size bytes of the block.
   */
  static openProcess(path: string, address: bigint, size: bigint): RamFile {
    return new RamFile(path, openSync(path, "r+"), address, address + size);
  }

  /** Fills `into` from `offset`. @throws {RamFileError} where the file ends before. */
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

  #ended(offset: bigint): RamFileError {
    return new RamFileError(`RAM file "${this.path}" ends before offset 0x${offset.toString(16)}`);
  }
}
