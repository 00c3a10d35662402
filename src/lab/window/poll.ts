/**
 * The loop that watches a guest from outside, in a thread of its own: it reads a few words of the guest's RAM file,
 * again and again, and writes down what changed and when.
 *
 * {@link poll} becomes a worker by its own text (poller.ts): it may use nothing but its arguments. All times are
 * milliseconds of the host's monotonic clock.
 */
import type { LockKind } from "./symbols.ts";

/** A stretch of guest physical memory in a file: file offset = address + `shift`. */
export interface PollPiece {
  readonly path: string;
  readonly start: bigint;
  readonly end: bigint;
  readonly shift: bigint;
}

/** What the loop is given. Addresses are physical. */
export interface PollPlan {
  /** Boot RAM. More come by {@link PollTools.receive}: the kernel puts new images' `struct kimage` into added memory. */
  readonly pieces: readonly PollPiece[];
  readonly image: bigint;
  readonly lock: bigint;
  readonly lockKind: LockKind;
  readonly pages: bigint;
  /** Base of the linear mapping. */
  readonly pageOffset: bigint;
  /** Pause between two looks. */
  readonly intervalMs: number;
  /** Words shared with the host's end: {@link CONTROL}. */
  readonly control: Int32Array;
}

/** Words of {@link PollPlan.control}: to be stopped, how many messages with pieces were sent, what `pages` is now. */
export const CONTROL = { stop: 0, pieces: 1, pages: 2, words: 3 } as const;

/** From `at` on. */
export interface StateRecord {
  readonly at: number;
  /** Whether `kexec_crash_image` points to an image. */
  readonly image: boolean;
  /** Whether the kexec lock is held. */
  readonly locked: boolean;
}

/** The loaded image's header from `at` on; empty where none of its segments is one. */
export interface HeaderRecord {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** Pages that the guest's kernel manages, from `at` on. */
export interface PagesRecord {
  readonly at: number;
  readonly pages: number;
}

/** What was seen. Each list begins with the state at `start`, apart from `headers` where nothing was loaded. */
export interface Observation {
  readonly start: number;
  readonly end: number;
  readonly states: readonly StateRecord[];
  readonly headers: readonly HeaderRecord[];
  readonly pages: readonly PagesRecord[];
  readonly samples: number;
  /** Between one look and the next. */
  readonly medianGapMs: number;
  /** What was shorter than this may have been missed. */
  readonly worstGapMs: number;
}

/** What {@link poll} uses of Node. */
export interface PollTools {
  readonly open: (path: string) => number;
  readonly read: (fd: number, into: Uint8Array, length: number, position: number) => number;
  readonly close: (fd: number) => void;
  /** Milliseconds. */
  readonly now: () => number;
  /** The next message with more pieces, without waiting. */
  readonly receive: () => readonly PollPiece[];
}

/** Watches until the control's `stop` is set. */
export function poll(plan: PollPlan, tools: PollTools): Observation {
  // `struct kimage`: segments from offset 64, their number at 56, 32 bytes each with the address at 16 (kimage.ts).
  const [stop, piecesWord, pagesWord] = [0, 1, 2];
  const headerWindow = 8192;
  const pieces: (PollPiece & { readonly fd: number })[] = [];
  const word = Buffer.alloc(8);
  const kimage = Buffer.alloc(64 + 16 * 32);
  const look = Buffer.alloc(headerWindow);
  let last = Buffer.alloc(0);

  const take = (more: readonly PollPiece[]): void => {
    for (const piece of more) {
      const fd = pieces.find(({ path }) => path === piece.path)?.fd ?? tools.open(piece.path);
      pieces.push({ ...piece, fd });
    }
  };
  const read = (address: bigint, into: Buffer, length: number): boolean => {
    for (const { start: from, end, shift, fd } of pieces) {
      if (address >= from && address < end)
        return tools.read(fd, into, length, Number(address + shift)) === length;
    }
    return false;
  };
  const findHeader = (pointer: bigint): bigint => {
    if (!read(pointer - plan.pageOffset, kimage, kimage.length)) return -1n;
    const count = Number(kimage.readBigUInt64LE(56));
    for (let i = 0; i < count && i < 16; i++) {
      const address = kimage.readBigUInt64LE(64 + i * 32 + 16);
      // An ELF file of type ET_CORE: no other segment begins like one.
      if (read(address, look, 64) && look.readUInt32BE(0) === 0x7f454c46 && look.readUInt16LE(16) === 4)
        return address;
    }
    return -1n;
  };

  const states: { at: number; image: boolean; locked: boolean }[] = [];
  const headers: { at: number; bytes: Uint8Array }[] = [];
  const pagesSeen: { at: number; pages: number }[] = [];
  // Gaps by microsecond, the last one for all that are longer.
  const gaps = new Uint32Array(100_000);
  let [samples, worst, before] = [0, 0, -1];
  let [known, header, messages] = [0n, -1n, 0];
  take(plan.pieces);
  const start = tools.now();
  try {
    for (;;) {
      const at = tools.now();
      if (before >= 0) {
        const gap = at - before;
        worst = Math.max(worst, gap);
        gaps[Math.min(gaps.length - 1, Math.round(gap * 1000))]!++;
      }
      before = at;
      samples++;
      read(plan.lock, word, 8);
      // The lowest three bits of a mutex's owner are flags (kernel/locking/mutex.c).
      const locked = plan.lockKind === "mutex" ? word.readBigUInt64LE() > 7n : word.readUInt32LE() !== 0;
      read(plan.image, word, 8);
      const pointer = word.readBigUInt64LE();
      const image = pointer !== 0n;
      const state = states.at(-1);
      if (!state || state.image !== image || state.locked !== locked) states.push({ at, image, locked });
      read(plan.pages, word, 8);
      const pages = Number(word.readBigUInt64LE());
      if (pagesSeen.at(-1)?.pages !== pages) {
        pagesSeen.push({ at, pages });
        Atomics.store(plan.control, pagesWord, pages);
      }
      while (messages < Atomics.load(plan.control, piecesWord)) {
        messages++;
        take(tools.receive());
      }
      if (pointer !== known || (image && header < 0n)) {
        known = pointer;
        header = image ? findHeader(pointer) : -1n;
        if (image && header < 0n && last.length > 0) {
          last = Buffer.alloc(0);
          headers.push({ at, bytes: new Uint8Array() });
        }
      }
      if (header >= 0n && read(header, look, headerWindow)) {
        const length = Math.min(headerWindow, 64 + 56 * look.readUInt16LE(56));
        if (length !== last.length || look.compare(last, 0, length, 0, length) !== 0) {
          last = Buffer.from(look.subarray(0, length));
          headers.push({ at, bytes: new Uint8Array(last) });
        }
      }
      if (Atomics.load(plan.control, stop) !== 0) break;
      Atomics.wait(plan.control, stop, 0, plan.intervalMs);
    }
  } finally {
    for (const fd of new Set(pieces.map((piece) => piece.fd))) tools.close(fd);
  }
  let [median, counted] = [0, 0];
  while (median < gaps.length - 1 && (counted += gaps[median]!) * 2 < samples - 1) median++;
  return {
    start,
    end: tools.now(),
    states,
    headers,
    pages: pagesSeen,
    samples,
    medianGapMs: median / 1000,
    worstGapMs: worst,
  };
}
