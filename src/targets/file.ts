/** Core headers in files: a header by itself, a vmcore, or a copy of crash memory. */
import { open, stat } from "node:fs/promises";
import { type CoreHeader, EHDR_SIZE, PHDR_SIZE, PT_LOAD } from "../elfcore/header.ts";
import { type CaptureCommandLine, elfcorehdrOf, findCommandLine } from "../image/command-line.ts";
import { readCoreHeader } from "../image/core-header.ts";
import { type DigestFinding, findDigestOfImage } from "../image/digest.ts";
import { MemoryAccessError, type PhysicalMemory } from "../image/memory.ts";
import { scanPages } from "../image/scan.ts";
import { halfOpen, type PhysicalRange } from "../layout/range.ts";
import { RangeSet } from "../layout/range-set.ts";
import { codeOf } from "./qemu/unix-socket.ts";
import { nodeSha256 } from "./sha256.ts";

/** What a file holds. */
export type HeaderFile =
  | { readonly kind: "core-header" | "vmcore"; readonly header: CoreHeader }
  | {
      readonly kind: "crash-memory";
      readonly header: CoreHeader;
      readonly headerAddress: bigint;
      readonly crashMemory: RangeSet;
      readonly digest: DigestFinding;
      readonly commandLine: CaptureCommandLine;
    };

/** A file that holds no core header. Exit code 2. */
export class HeaderFileError extends Error {
  override readonly name = "HeaderFileError";
}

const ELFCOREHDR = "elfcorehdr=";
/** 65,534 program headers: the most that /proc/vmcore reads. Crash memory is larger. */
const LARGEST_HEADER = EHDR_SIZE + 65_534 * PHDR_SIZE;
/** Room for a command line behind `elfcorehdr=`. */
const LINE_SIZE = 4096;
/** A copy of crash memory is read whole; `crashkernel=` on the largest machines asks for some GiB. */
const LARGEST_COPY = 8 * 1024 ** 3;
/** Node reads at most 2 GiB at a time. */
const LARGEST_READ = 1024 ** 3;

/**
 * Reads the file at `path`.
 *
 * A copy of crash memory does not say where it was: its command line's `elfcorehdr=` and the header's place in the
 * file do.
 *
 * @throws {HeaderFileError} where there is no core header in it; {@link CoreHeaderError} where there is a bad one.
 */
export async function readHeaderFile(path: string): Promise<HeaderFile> {
  await using file = await FileMemory.open(path, 0n);
  if (file.size < EHDR_SIZE) {
    throw new HeaderFileError(
      `${path} has ${file.size} bytes, a core header has at least ${EHDR_SIZE + PHDR_SIZE}`,
    );
  }
  if (!startsLikeElf(await file.read(0n, EHDR_SIZE))) return await readCrashMemory(path, file);
  const header = await readCoreHeader(file, 0n);
  // The capture kernel rewrites p_offset to offsets in /proc/vmcore; in a core header it is an address.
  const loads = header.programHeaders.filter((ph) => ph.p_type === PT_LOAD);
  if (loads.length > 0 && loads.every((ph) => ph.p_offset !== ph.p_paddr)) return { kind: "vmcore", header };
  // kexec_file_load puts the header at the start of crash memory: what is larger than any header is a copy of that.
  return file.size > LARGEST_HEADER ? await readCrashMemory(path, file) : { kind: "core-header", header };
}

async function readCrashMemory(path: string, file: FileMemory): Promise<HeaderFile> {
  if (file.size > LARGEST_COPY) {
    throw new HeaderFileError(
      `${path} has ${file.size} bytes and does not begin with a core header: it is no vmcore, and larger than any copy of crash memory`,
    );
  }
  const all = await file.read(0n, file.size);
  const { coreHeaders } = await scanPages(file, await file.ranges());
  for (const offset of coreHeaders) {
    for (const address of namedAddresses(all)) {
      const base = address - offset;
      const commandLine = base >= 0n ? findCommandLine(all, base, address) : undefined;
      if (!commandLine) continue;
      const memory = file.at(base);
      const crashMemory = RangeSet.of(await memory.ranges());
      const header = await readCoreHeader(memory, address);
      const { digest } = await findDigestOfImage(memory, nodeSha256, address, crashMemory, undefined);
      return { kind: "crash-memory", header, headerAddress: address, crashMemory, digest, commandLine };
    }
  }
  throw new HeaderFileError(
    `No core header was found in ${path}: it is neither a core header or vmcore, nor a copy of crash memory with a loaded capture kernel`,
  );
}

/** Addresses that the command lines in `bytes` give for the header. */
function namedAddresses(bytes: Uint8Array): readonly bigint[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const addresses = new Set<bigint>();
  for (
    let at = buffer.indexOf(ELFCOREHDR);
    at !== -1 && addresses.size < 64;
    at = buffer.indexOf(ELFCOREHDR, at + 1)
  ) {
    const text = buffer.toString("latin1", at, at + LINE_SIZE).split("\0")[0]!;
    const address = elfcorehdrOf(text);
    if (address !== undefined) addresses.add(address);
  }
  return [...addresses];
}

function startsLikeElf(bytes: Uint8Array): boolean {
  return bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
}

/** A file as memory that begins at some address. Never written. */
class FileMemory implements PhysicalMemory, AsyncDisposable {
  readonly size: number;
  readonly #file: Awaited<ReturnType<typeof open>>;
  readonly #range: PhysicalRange;

  private constructor(file: Awaited<ReturnType<typeof open>>, size: number, base: bigint) {
    this.#file = file;
    this.size = size;
    this.#range = halfOpen(base, base + BigInt(Math.max(size, 1)));
  }

  static async open(path: string, base: bigint): Promise<FileMemory> {
    // Looked at before it is opened: opening a pipe waits for somebody who writes.
    const entry = await stat(path).catch((error: unknown) => {
      if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR")
        throw new HeaderFileError(
          `There is no file ${path}: give a core header, a vmcore or a copy of crash memory`,
        );
      throw error;
    });
    if (!entry.isFile()) {
      throw new HeaderFileError(
        `${path} is ${entry.isDirectory() ? "a directory" : "no regular file"}: give a core header, a vmcore or a copy of crash memory`,
      );
    }
    return new FileMemory(await open(path, "r"), entry.size, base);
  }

  /** The same file at another address. */
  at(base: bigint): FileMemory {
    return new FileMemory(this.#file, this.size, base);
  }

  async ranges(): Promise<readonly PhysicalRange[]> {
    return [this.#range];
  }

  async read(address: bigint, length: number): Promise<Uint8Array> {
    if (address < this.#range.start || address + BigInt(length) > this.#range.end) {
      throw new MemoryAccessError("read", address, length, "the file does not reach that far");
    }
    const bytes = new Uint8Array(length);
    const position = Number(address - this.#range.start);
    for (let done = 0; done < length;) {
      const wanted = Math.min(length - done, LARGEST_READ);
      const { bytesRead } = await this.#file.read(bytes, done, wanted, position + done);
      if (bytesRead === 0) throw new MemoryAccessError("read", address, length, "the file became shorter");
      done += bytesRead;
    }
    return bytes;
  }

  async write(address: bigint, bytes: Uint8Array): Promise<void> {
    throw new MemoryAccessError("write", address, bytes.length, "files are only read");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}
