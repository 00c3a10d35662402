/** kexec_file_load: the kernel reads the files, makes the header and the digest, and loads over the image that is there. */
import { KexecError } from "./kexec-error.ts";
import type { SystemCalls } from "./system-calls.ts";

/** What is to be loaded. */
export interface KexecFiles {
  /** Descriptor of the kernel file, open for reading. */
  readonly kernel: number;
  /** Of the initrd; undefined where there is none. */
  readonly initrd: number | undefined;
  /** What the capture kernel is told; the kernel puts `elfcorehdr=` before it. */
  readonly commandLine: string;
}

const KEXEC_FILE_UNLOAD = 1;
const KEXEC_FILE_ON_CRASH = 2;
const KEXEC_FILE_NO_INITRAMFS = 4;

/**
 * Makes the call; the event loop stands still for as long as it takes, which is 1 to 3 s in a guest without KVM, and a
 * panic finds no image meanwhile.
 *
 * @returns its duration, ms.
 * @throws {KexecError}
 */
export function loadFiles(calls: SystemCalls, { kernel, initrd, commandLine }: KexecFiles): number {
  // cmdline_len counts the NUL.
  const text = Buffer.from(`${commandLine}\0`, "utf8");
  const flags = KEXEC_FILE_ON_CRASH | (initrd === undefined ? KEXEC_FILE_NO_INITRAMFS : 0);
  const { errno, milliseconds } = calls.invoke(
    "kexec_file_load",
    kernel,
    initrd ?? -1,
    text.length,
    text,
    flags,
  );
  if (errno !== 0) throw new KexecError("kexec_file_load", "a kernel file", errno);
  return milliseconds;
}

/**
 * Finds out whether the kernel accepts a kernel file, signature and all, without touching the capture image: by loading it
 * as what the next `kexec -e` would start, and unloading that. For who knows that nothing is loaded as such.
 *
 * A load over the capture image is no way to find out: the kernel lets go of the image first, and looks at signatures
 * then (kexec_file_load, kernel/kexec_file.c; a 6.1 guest in lockdown had no image any more after EPERM).
 *
 * @throws {KexecError} of the answer.
 */
export function tryKernelFile(calls: SystemCalls, kernel: number): void {
  const text = Buffer.of(0);
  const { errno } = calls.invoke("kexec_file_load", kernel, -1, text.length, text, KEXEC_FILE_NO_INITRAMFS);
  if (errno !== 0) throw new KexecError("kexec_file_load", "a kernel file to try it", errno);
  calls.invoke("kexec_file_load", -1, -1, 0, 0, KEXEC_FILE_UNLOAD);
}
