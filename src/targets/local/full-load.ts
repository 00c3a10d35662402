/**
 * The load in full: kernel, initrd and command line over the image that is loaded, by kexec_file_load, where only the header
 * cannot be loaded. The image is never unloaded first, and what would fail late is found early: the kernel lets go of the
 * loaded image before it looks at the files.
 */
import { type FileHandle, open, stat } from "node:fs/promises";
import { PAGE_SIZE } from "../../image/bytes.ts";
import { parseBzImage, SETUP_HEADER_BYTES } from "./bzimage.ts";
import type { CaptureFiles } from "./capture-facts.ts";
import { KexecRefusedError } from "./kexec-error.ts";
import { loadFiles, tryKernelFile } from "./kexec-file-load.ts";
import type { SystemCalls } from "./system-calls.ts";

/** What the kernel puts before the command line: `elfcorehdr=0x… ` (MAX_ELFCOREHDR_STR_LEN). */
const ELFCOREHDR_LENGTH = 30;
const READ_AT_ONCE = 1024 * 1024;

/** A load whose files are open, read and in the page cache. */
export interface FullLoad extends AsyncDisposable {
  /** Bytes of crash memory that kernel and initrd take at least. */
  readonly bytes: number;
  /**
   * Finds out, without touching the capture image, whether the kernel accepts the kernel file: see {@link tryKernelFile}.
   *
   * @throws {KexecError} of its answer.
   */
  tryKernel(): void;
  /**
   * Loads them; the event loop stands still meanwhile (see {@link loadFiles}).
   *
   * @returns the duration of the system call, ms.
   * @throws {KexecError}
   */
  load(): number;
}

/**
 * Opens and reads what is to be loaded, so that the system call finds it in memory.
 *
 * @param crashBytes bytes of crash memory (`crashk_res`).
 * @throws {KexecRefusedError} where the kernel would not take it; `ENOENT` and the like where it cannot be read.
 */
export async function prepareFullLoad(
  calls: SystemCalls,
  files: CaptureFiles,
  crashBytes: number,
): Promise<FullLoad> {
  const opened: FileHandle[] = [];
  const closeAll = async (): Promise<void> => {
    for (const handle of opened.splice(0)) await handle.close();
  };
  try {
    const kernel = await read(files.kernel, opened);
    const initrd = files.initrd === undefined ? undefined : await read(files.initrd, opened);
    const image = parseBzImage(kernel.beginning, files.kernel);
    const length = Buffer.byteLength(files.commandLine) + 1 + ELFCOREHDR_LENGTH;
    if (/[\0\n]/.test(files.commandLine))
      throw new KexecRefusedError("Cannot load a capture kernel: its command line is more than one line");
    if (length > image.commandLineSize)
      throw new KexecRefusedError(
        `Cannot load ${files.kernel}: its command line takes ${length} bytes with elfcorehdr=, and it takes ${image.commandLineSize}; nothing was called`,
      );
    const bytes = wholePages(image.initSize) + wholePages(initrd?.size ?? 0);
    if (bytes > crashBytes)
      throw new KexecRefusedError(
        `Cannot load ${files.kernel}: with its initrd it takes ${bytes} bytes of crash memory, and there are ${crashBytes}: reserve more (crashkernel=); nothing was called`,
      );
    return {
      bytes,
      tryKernel: () => tryKernelFile(calls, kernel.fd),
      load: () => {
        if (opened.length === 0) throw new KexecRefusedError("Cannot load: the files were closed");
        return loadFiles(calls, {
          kernel: kernel.fd,
          initrd: initrd?.fd,
          commandLine: files.commandLine,
        });
      },
      [Symbol.asyncDispose]: closeAll,
    };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

/** Reads a whole file, which is what puts it into the page cache, and keeps its beginning. */
async function read(
  path: string,
  opened: FileHandle[],
): Promise<{ readonly fd: number; readonly size: number; readonly beginning: Uint8Array }> {
  // Looked at before it is opened: opening a pipe waits for somebody who writes.
  if (!(await stat(path)).isFile()) throw new KexecRefusedError(`Cannot load ${path}: it is no regular file`);
  const handle = await open(path, "r");
  opened.push(handle);
  const beginning = new Uint8Array(SETUP_HEADER_BYTES);
  const buffer = new Uint8Array(READ_AT_ONCE);
  let size = 0;
  for (;;) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, size);
    if (bytesRead === 0) break;
    if (size === 0) beginning.set(buffer.subarray(0, Math.min(bytesRead, beginning.length)));
    size += bytesRead;
  }
  if (size === 0) throw new KexecRefusedError(`Cannot load ${path}: it is empty`);
  return { fd: handle.fd, size, beginning: beginning.subarray(0, size) };
}

function wholePages(bytes: number): number {
  return Math.ceil(bytes / PAGE_SIZE) * PAGE_SIZE;
}
