/** Why the kernel did not load a capture image, and what became of the one that was loaded. */
import { SystemCallError } from "./errno.ts";

/** The two ways to load one. */
export type KexecCall = "kexec_load" | "kexec_file_load";

/**
 * Answered before the kernel lets go of the image that is loaded (kernel/kexec.c, kexec_file.c, 5.10 to 6.12). All
 * others may come after that, and then nothing is loaded any more. kexec_file_load looks at signatures only then, and
 * answers EPERM too.
 */
const BEFORE: Readonly<Record<KexecCall, readonly string[]>> = {
  kexec_load: ["EPERM", "EBUSY", "ENOSYS"],
  kexec_file_load: ["EBUSY", "ENOSYS"],
};

const WORDS: Readonly<Record<string, string>> = {
  EPERM: "not permitted",
  EBUSY: "another loader, or the kernel's own hotplug handler, holds the kexec lock: try again",
  ENOSYS:
    "this kernel was built without it (CONFIG_KEXEC, CONFIG_KEXEC_FILE), or a filter of system calls hides it",
  EADDRNOTAVAIL:
    "no place for it: crash memory is too small or none is reserved (crashkernel=), or a segment or the entry lies outside",
  EINVAL: "the kernel does not accept these segments, flags, or this command line",
  ENOMEM: "not enough free memory to load with",
  EFAULT: "a segment's bytes are not where they were said to be",
  ENOEXEC: "the kernel file is no bzImage that can be loaded this way",
  EBADF: "a file was closed meanwhile",
  EKEYREJECTED: "the kernel file's signature is by no key that this kernel trusts",
  ENODATA: "the kernel file is not signed, and this kernel loads only signed ones",
  ENOKEY: "the key of the kernel file's signature is not known to this kernel",
  ENOPKG: "the kernel file's signature is of a kind that this kernel does not know",
  ELIBBAD: "the kernel file's signature does not fit its bytes",
  EBADMSG: "the kernel file's signature cannot be read",
};

/** Raised where an image was not loaded. */
export class KexecError extends SystemCallError {
  override readonly name = "KexecError";
  readonly call: KexecCall;
  /** Whether the image that was loaded before is still armed; undefined where the answer does not tell. */
  readonly imageKept: true | undefined;

  /**
   * @param what what was to be loaded, after "load": `3 segments`.
   * @param reasons what else is known of why, each without a full stop.
   */
  constructor(call: KexecCall, what: string, errno: number, reasons: readonly string[] = []) {
    const { code } = new SystemCallError("", errno);
    const words = [WORDS[code] ?? "not an answer that is known of this call", ...reasons].join("; ");
    const kept = BEFORE[call].includes(code) || undefined;
    const fate = kept
      ? "the image that was loaded before is still armed"
      : "the image that was loaded before may be gone: see /sys/kernel/kexec_crash_loaded";
    super(`load ${what} (${call})`, errno, `${words}; ${fate}`);
    this.call = call;
    this.imageKept = kept;
  }

  /** Whether it may work in a moment. */
  get isBusy(): boolean {
    return this.code === "EBUSY";
  }
}

/**
 * Raised instead of a call that the kernel would refuse after it has let go of the loaded image. Nothing was called.
 */
export class KexecRefusedError extends Error {
  override readonly name = "KexecRefusedError";
  readonly imageKept = true;
}
