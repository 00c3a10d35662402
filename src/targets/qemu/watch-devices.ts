/** Tells when a guest's memory devices may have changed. */
import { setTimeout as delay } from "node:timers/promises";
import type { QemuGuest } from "./guest.ts";
import { queryPluggedMemory } from "./replies.ts";

/** Events after which the layout, or the image, may be another one. */
const TELLING: ReadonlySet<string> = new Set([
  "ACPI_DEVICE_OST",
  // Not of QEMU's making: who manages the guest may tell that.
  "DEVICE_ADDED",
  "DEVICE_DELETED",
  "MEMORY_DEVICE_SIZE_CHANGE",
  "RESET",
  "RESUME",
]);

/** For so long after a change the next one is waited for with all ears, ms: who adds one DIMM adds more. */
const HOT_MS = 2000;
/** So many times as often QEMU is asked then. For all of the time it would be too much: QEMU and we have some work with each question. */
const HOT_SHARE = 4;

/** What those who watch decide about asking; each is asked every time. */
export interface Asking {
  /** How long until QEMU is asked again at least, ms, for those who watch many. */
  readonly atLeastMs: () => number;
  /** Whether it is better not asked now: its answers come one after the other, and somebody waits for another one. */
  readonly isBusy: () => boolean;
  /** Whether it stands still because of us: that it runs again then is no news. */
  readonly isPaused: () => boolean;
}

/**
 * Calls `changed` after each of them, and when somebody has to see that QEMU does not answer any more.
 *
 * QEMU has no event for a device that was added, and the guest's own word (ACPI_DEVICE_OST) comes when it has the
 * memory already: so QEMU is asked, every `pollMs` of its session, and more often where something changed just now.
 */
export function watchDevices(guest: QemuGuest, changed: () => void, asking: Asking): Disposable {
  const forget = guest.qmp.onEvent(({ event }) => {
    if (TELLING.has(event) && !(event === "RESUME" && asking.isPaused())) changed();
  });
  const ended = new AbortController();
  poll(guest, changed, asking, ended.signal).catch(changed);
  return {
    [Symbol.dispose]: () => {
      forget();
      ended.abort();
    },
  };
}

/** How long until QEMU is asked again, ms. @param calmMs how long ago the last change was seen. */
export function nextPollMs(pollMs: number, calmMs: number, atLeastMs: number): number {
  return Math.max(calmMs < HOT_MS ? pollMs / HOT_SHARE : pollMs, atLeastMs);
}

async function poll(
  guest: QemuGuest,
  changed: () => void,
  { atLeastMs, isBusy }: Asking,
  ended: AbortSignal,
): Promise<void> {
  // One number, where the list of 240 DIMMs takes QEMU and us milliseconds. What has gone is told of by an event.
  let known = await queryPluggedMemory(guest.qmp);
  let changedAt = -Infinity;
  while (!ended.aborted) {
    const calmMs = performance.now() - changedAt;
    await delay(nextPollMs(guest.qmp.pollMs, calmMs, atLeastMs()));
    if (ended.aborted) return;
    if (isBusy()) continue;
    const now = await queryPluggedMemory(guest.qmp);
    if (now !== known) {
      changed();
      changedAt = performance.now();
    }
    known = now;
  }
}
