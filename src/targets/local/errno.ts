/** What a system call answers when it fails, by the kernel's names. */
import { constants } from "node:os";

/** Those that `node:os` does not know, and that kexec_file_load answers of signatures (asm-generic/errno.h). */
const MORE: readonly (readonly [string, number])[] = [
  ["ENOPKG", 65],
  ["ELIBBAD", 80],
  ["ENOKEY", 126],
  ["EKEYEXPIRED", 127],
  ["EKEYREVOKED", 128],
  ["EKEYREJECTED", 129],
];

const NAMES = new Map<number, string>();
for (const [name, errno] of [...Object.entries(constants.errno), ...MORE]) {
  // Where a number has two names (EAGAIN, EWOULDBLOCK) the first one is the common one.
  if (!NAMES.has(errno)) NAMES.set(errno, name);
}

/** The name of `errno`, such as `EBUSY`; `errno 1234` where it has none. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`;
}

/** Raised where a system call failed. */
export class SystemCallError extends Error {
  override readonly name: string = "SystemCallError";
  /** `errno` after the call, a positive number. */
  readonly errno: number;
  /** Its name, as Node's own errors have it. */
  readonly code: string;

  /**
   * @param call what was called, as it follows "Cannot": `receive uevents (recvmsg)`.
   * @param words what that errno means here and what to do, without a full stop; only the name where there is none.
   */
  constructor(call: string, errno: number, words?: string) {
    const code = errnoName(errno);
    super(`Cannot ${call}: ${code}${words === undefined ? "" : `, ${words}`}`);
    this.errno = errno;
    this.code = code;
  }
}
