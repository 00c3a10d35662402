/**
 * Rooms for what a pass over memory reads, handed from one pass to the next.
 *
 * A pass needs one for a moment, and a service makes thousands of passes. A room of its own for each costs twice: its
 * pages are new to the process, which is dearer than what is copied into them, and what is freed stays with the C
 * library, in pieces between what is still in use (a service with 200 idle guests: 161 MiB resident, 132 with these).
 */
import { PAGE_SIZE } from "./bytes.ts";
import type { PhysicalMemory } from "./memory.ts";

/** As much as a core's own cache holds, and a page that a window of it may have of the next one. */
export const ROOM_BYTES: number = 1024 * 1024 + PAGE_SIZE;
/** Where each read has a fixed cost, fewer of them. */
const SLOW_ROOM_BYTES = 4 * 1024 * 1024;
/** As many as a service hashes images, or searches RAM, at a time. */
const MOST_KEPT = 4;

/** A room, until it is disposed of: then it is somebody else's. */
export interface Room extends Disposable {
  readonly bytes: Uint8Array;
}

const free: Uint8Array[] = [];

/** A room of {@link ROOM_BYTES} or more for reads of `memory`. Its bytes are whatever was there before. */
export function borrowRoom({ isSlow }: PhysicalMemory): Room {
  // An answer that comes late may fill a room that its pass has left already: such a room is nobody else's.
  if (isSlow) return { bytes: new Uint8Array(SLOW_ROOM_BYTES), [Symbol.dispose]: () => {} };
  const bytes = free.pop() ?? new Uint8Array(ROOM_BYTES);
  let isLent = true;
  return {
    bytes,
    [Symbol.dispose]: () => {
      if (isLent && free.length < MOST_KEPT) free.push(bytes);
      isLent = false;
    },
  };
}
