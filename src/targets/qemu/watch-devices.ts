/** Tells when a guest's memory devices may have changed. */
import { setTimeout as delay } from "node:timers/promises";
import { parseMemoryDevices } from "../../layout/qmp.ts";
import { formatRange } from "../../layout/range.ts";
import type { QemuGuest } from "./guest.ts";

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

/**
 * Calls `changed` after each of them, and when somebody has to see that QEMU does not answer any more.
 *
 * QEMU has no event for a device that was added, and the guest's own word (ACPI_DEVICE_OST) comes when it has the
 * memory already: so QEMU is asked, every `pollMs` of its session.
 *
 * @param pollEveryMs how long until QEMU is asked again at least, for those who watch many.
 */
export function watchDevices(
  guest: QemuGuest,
  changed: () => void,
  pollEveryMs: () => number = () => 0,
): Disposable {
  const forget = guest.qmp.onEvent(({ event }) => {
    if (TELLING.has(event)) changed();
  });
  const ended = new AbortController();
  poll(guest, changed, pollEveryMs, ended.signal).catch(changed);
  return {
    [Symbol.dispose]: () => {
      forget();
      ended.abort();
    },
  };
}

async function poll(
  guest: QemuGuest,
  changed: () => void,
  pollEveryMs: () => number,
  ended: AbortSignal,
): Promise<void> {
  let known = await devices(guest);
  while (!ended.aborted) {
    await delay(Math.max(guest.qmp.pollMs, pollEveryMs()));
    if (ended.aborted) return;
    const now = await devices(guest);
    if (now !== known) changed();
    known = now;
  }
}

async function devices(guest: QemuGuest): Promise<string> {
  const found = parseMemoryDevices(await guest.memoryDevices());
  return found.map(({ id, range }) => `${id} ${range ? formatRange(range) : ""}`).join("\n");
}
