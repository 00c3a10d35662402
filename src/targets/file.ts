/** Core headers in files: a header by itself, a vmcore, or a copy of crash memory. */
import { open, stat } from "node:fs/promises";
import { type CoreHeader, coreHeaderSize, EHDR_SIZE, PT_LOAD } from "../elfcore/header.ts";
import { CoreHeaderError } from "../elfcore/error.ts";
import { PAGE_SIZE } from "../image/bytes.ts";
import {
  type CaptureCommandLine,
  COMMAND_LINE_SIZE,
  elfcorehdrOf,
  findCommandLines,
} from "../image/command-line.ts";
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

/** 65,534 program headers: the most that /proc/vmcore reads. Crash memory is larger. */
const LARGEST_HEADER = coreHeaderSize(65_534);
/** Pages that look like core headers and are tried as one; each may have 65,534 program headers. */
const MAX_HEADERS = 64;
/** Headers for which a digest is looked for, which takes a look at all of the file; an image that moved has two. */
const MAX_SEARCHES = 4;
/** Bytes that are looked through at a time. */
const AT_ONCE = 4 * 1024 * 1024;
/** Different addresses that command lines in a file name. */
const MAX_NAMED = 64;
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
 * @param signal ends the look at the next read.
 * @throws {HeaderFileError} where there is no core header in it; {@link CoreHeaderError} where there is a bad one.
 */
export async function readHeaderFile(path: string, signal?: AbortSignal): Promise<HeaderFile> {
  await using file = await FileMemory.open(path, 0n, signal);
  if (file.size < EHDR_SIZE) {
    throw new HeaderFileError(
      `${path} has ${file.size} bytes, a core header has at least ${coreHeaderSize(1)}`,
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
  const lines = await commandLinesIn(file);
  const { coreHeaders } = await scanPages(file, await file.ranges());
  let doubt: CoreHeaderError | undefined;
  let first: HeaderFile | undefined;
  let searches = 0;
  for (const offset of lines.size === 0 ? [] : coreHeaders.slice(0, MAX_HEADERS)) {
    // A header lies on a page, in the machine as in the file.
    const named = [...lines].find(([each]) => each >= offset && each % BigInt(PAGE_SIZE) === 0n);
    if (named === undefined) continue;
    const [address, line] = named;
    const memory = file.at(address - offset);
    let header: CoreHeader;
    try {
      header = await readCoreHeader(memory, address);
    } catch (error) {
      if (!(error instanceof CoreHeaderError || error instanceof MemoryAccessError)) throw error;
      if (error instanceof CoreHeaderError) doubt ??= error;
      continue;
    }
    const crashMemory = RangeSet.of(await memory.ranges());
    const { digest } = await findDigestOfImage(memory, nodeSha256, address, crashMemory, undefined);
    const commandLine = { address: address - offset + line.address, text: line.text };
    const found = {
      kind: "crash-memory",
      header,
      headerAddress: address,
      crashMemory,
      digest,
      commandLine,
    } as const;
    first ??= found;
    // Of a header that has moved, the old one is still there and comes first: only the right place has a digest.
    if (digest.state !== "not-found" || ++searches === MAX_SEARCHES)
      return digest.state === "not-found" ? first : found;
  }
  if (first) return first;
  if (doubt) throw doubt;
  const many =
    coreHeaders.length > MAX_HEADERS
      ? ` (${coreHeaders.length} pages of it look like one, and ${MAX_HEADERS} were tried)`
      : "";
  throw new HeaderFileError(
    `No core header was found in ${path}${many}: it is neither a core header or vmcore, nor a copy of crash memory with a loaded capture kernel`,
  );
}

/** The first command line for each address that one in the file gives for the header, by it; in one pass. */
async function commandLinesIn(file: FileMemory): Promise<ReadonlyMap<bigint, CaptureCommandLine>> {
  const lines = new Map<bigint, CaptureCommandLine>();
  for (let at = 0; at < file.size && lines.size < MAX_NAMED; at += AT_ONCE) {
    const start = Math.max(0, at - COMMAND_LINE_SIZE);
    const end = Math.min(file.size, at + AT_ONCE + COMMAND_LINE_SIZE);
    for (const { offset, text } of findCommandLines(await file.read(BigInt(start), end - start))) {
      const address = elfcorehdrOf(text);
      if (address !== undefined && !lines.has(address) && lines.size < MAX_NAMED)
        lines.set(address, { address: BigInt(start + offset), text });
    }
  }
  return lines;
}

function startsLikeElf(bytes: Uint8Array): boolean {
  return bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
}

/** A file as memory that begins at some address. Never written. */
class FileMemory implements PhysicalMemory, AsyncDisposable {
  readonly size: number;
  readonly #file: Awaited<ReturnType<typeof open>>;
  readonly #range: PhysicalRange;
  readonly #signal: AbortSignal | undefined;

  private constructor(
    file: Awaited<ReturnType<typeof open>>,
    size: number,
    base: bigint,
    signal: AbortSignal | undefined,
  ) {
    this.#signal = signal;
    this.#file = file;
    this.size = size;
    this.#range = halfOpen(base, base + BigInt(Math.max(size, 1)));
  }

  static async open(path: string, base: bigint, signal?: AbortSignal): Promise<FileMemory> {
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
    return new FileMemory(await open(path, "r"), entry.size, base, signal);
  }

  /** The same file at another address. */
  at(base: bigint): FileMemory {
    return new FileMemory(this.#file, this.size, base, this.#signal);
  }

  async ranges(): Promise<readonly PhysicalRange[]> {
    return [this.#range];
  }

  async read(address: bigint, length: number): Promise<Uint8Array> {
    if (address < this.#range.start || address + BigInt(length) > this.#range.end) {
      throw new MemoryAccessError("read", address, length, "the file does not reach that far");
    }
    this.#signal?.throwIfAborted();
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
