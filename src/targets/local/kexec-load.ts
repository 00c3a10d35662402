/**
 * kexec_load: segments out of memory that is read and there, in one call.
 *
 * The kernel lets go of the loaded image first and looks at the segments then (kernel/kexec.c: do_kexec_load,
 * sanity_check_segment_list, 5.10 to 6.12). So everything that it would refuse is refused here, before the call.
 */
import { PAGE_SIZE } from "../../image/bytes.ts";
import { formatRange, type PhysicalRange } from "../../layout/range.ts";
import { KexecError, KexecRefusedError } from "./kexec-error.ts";
import { LockedMemory } from "./locked-memory.ts";
import type { SystemCalls } from "./system-calls.ts";

/** One segment. */
export interface KexecSegment {
  /** Physical address, page aligned. */
  readonly address: bigint;
  /** Bytes that it occupies there, whole pages: what `bytes` do not fill becomes zero. */
  readonly size: number;
  readonly bytes: Uint8Array;
}

/** What is to be loaded. */
export interface KexecLoad {
  /** Physical address at which a panic enters it. */
  readonly entry: bigint;
  /** 1 to 16. (None would unload the image: that is never asked for.) */
  readonly segments: readonly KexecSegment[];
  /**
   * Allow the kernel to rewrite the header on its own, which must not be covered by the digest then
   * (KEXEC_UPDATE_ELFCOREHDR). Only 6.6 and later know it. Default false.
   */
  readonly kernelUpdatesHeader?: boolean;
}

/** What the machine has. */
export interface KexecLimits {
  /** `crashk_res`: the range of crash memory that an image may lie in. Not the low one. */
  readonly crash: PhysicalRange;
  /** MemTotal of /proc/meminfo, bytes: the kernel takes no image larger than half of it. */
  readonly memTotal: bigint;
}

/** KEXEC_SEGMENT_MAX */
const SEGMENT_MAX = 16;
const SEGMENT_BYTES = 32;
const KEXEC_ON_CRASH = 1n;
const KEXEC_UPDATE_ELFCOREHDR = 4n;
/** KEXEC_ARCH_X86_64, EM_X86_64 << 16 */
const ARCH = 62n << 16n;

/** An image that one call loads. */
export interface PreparedLoad extends Disposable {
  /**
   * Makes the call, over the image that is loaded. From here to its end a panic finds none.
   *
   * @returns its duration, ms.
   * @throws {KexecError}
   */
  load(): number;
}

/**
 * Puts everything into locked memory.
 *
 * @throws {KexecRefusedError} where the kernel would not take it.
 * @throws {SystemCallError} where there is not that much memory.
 */
export function prepareLoad(calls: SystemCalls, load: KexecLoad, limits: KexecLimits): PreparedLoad {
  checkLoad(load, limits);
  const { entry, segments, kernelUpdatesHeader = false } = load;
  const table = new Uint8Array(SEGMENT_MAX * SEGMENT_BYTES);
  const memory = new LockedMemory(
    calls,
    LockedMemory.roomFor([table.length, ...segments.map(({ bytes }) => bytes.length)]),
  );
  try {
    // struct kexec_segment { void *buf; size_t bufsz; unsigned long mem; size_t memsz }
    const view = new DataView(table.buffer);
    for (const [i, { address, size, bytes }] of segments.entries()) {
      view.setBigUint64(i * SEGMENT_BYTES, memory.place(bytes), true);
      view.setBigUint64(i * SEGMENT_BYTES + 8, BigInt(bytes.length), true);
      view.setBigUint64(i * SEGMENT_BYTES + 16, address, true);
      view.setBigUint64(i * SEGMENT_BYTES + 24, BigInt(size), true);
    }
    const at = memory.place(table);
    const flags = KEXEC_ON_CRASH | ARCH | (kernelUpdatesHeader ? KEXEC_UPDATE_ELFCOREHDR : 0n);
    let ended = false;
    return {
      load: () => {
        // The kernel would find no bytes there, after it has let go of the loaded image.
        if (ended) throw refused("its memory was given back");
        const { errno, milliseconds } = calls.invoke("kexec_load", entry, segments.length, at, flags);
        if (errno !== 0) throw new KexecError("kexec_load", describeLoad(load), errno);
        return milliseconds;
      },
      [Symbol.dispose]: () => {
        ended = true;
        memory[Symbol.dispose]();
      },
    };
  } catch (error) {
    memory[Symbol.dispose]();
    throw error;
  }
}

/**
 * Checks what the kernel checks when the loaded image is gone already.
 *
 * @throws {KexecRefusedError} which says what is wrong.
 */
export function checkLoad({ entry, segments }: KexecLoad, { crash, memTotal }: KexecLimits): void {
  if (segments.length < 1 || segments.length > SEGMENT_MAX)
    throw refused(`there are ${segments.length} segments, expected 1 to ${SEGMENT_MAX}`);
  if (entry < crash.start || entry >= crash.end)
    throw refused(`the entry 0x${entry.toString(16)} is not in crash memory (${formatRange(crash)})`);
  let total = 0n;
  const sorted = segments
    .map(({ address, size, bytes }) => {
      const range = { start: address, end: address + BigInt(size) };
      const named = `the segment at 0x${address.toString(16)} of ${size} bytes`;
      if (!Number.isSafeInteger(size) || size <= 0) throw refused(`${named} has no size`);
      if ((range.start | range.end) % BigInt(PAGE_SIZE) !== 0n) throw refused(`${named} is no whole pages`);
      if (range.start < crash.start || range.end > crash.end)
        throw refused(`${named} is not in crash memory (${formatRange(crash)})`);
      if (bytes.length > size) throw refused(`${named} has ${bytes.length} bytes to hold`);
      total += BigInt(size);
      return { named, range };
    })
    .sort((a, b) => (a.range.start < b.range.start ? -1 : 1));
  for (const [i, { named, range }] of sorted.entries()) {
    const next = sorted[i + 1];
    if (next && next.range.start < range.end) throw refused(`${named} overlaps ${next.named}`);
  }
  if (total > memTotal / 2n)
    throw refused(`it has ${total} bytes, more than half of memory (${memTotal} bytes)`);
}

function refused(reason: string): KexecRefusedError {
  return new KexecRefusedError(
    `Cannot load this image: ${reason}; the kernel would refuse it after it has let go of the loaded one, so nothing was called`,
  );
}

function describeLoad({ entry, segments }: KexecLoad): string {
  const places = segments.map(({ address, size }) => `0x${address.toString(16)}+0x${size.toString(16)}`);
  return `segments ${places.join(", ")}, entry 0x${entry.toString(16)}`;
}
