/** Tells when a guest's memory devices may have changed. */
import { setTimeout as delay } from "node:timers/promises";
import { parseMemoryDevices } from "../../layout/qmp.ts";
import { formatRange } from "../../layout/range.ts";
import type { QemuGuest } from "./guest.ts";

/**
 * QEMU has no event for a device that was added, and the guest's own word (ACPI_DEVICE_OST) comes when it has the
 * memory already: so QEMU is asked this often. One question takes 0.1 to 0.3 ms.
 */
const POLL_MS = 8;

/** Events after which the layout, or the image, may be another one. */
const TELLING: ReadonlySet<string> = new Set([
  "ACPI_DEVICE_OST",
  "DEVICE_DELETED",
  "MEMORY_DEVICE_SIZE_CHANGE",
  "RESET",
  "RESUME",
]);

/**
 * Calls `changed` after each of them, and when somebody has to see that QEMU does not answer any more.
 *
 * @param pollMs how long until QEMU is asked again, for those who watch many.
 */
export function watchDevices(
  guest: QemuGuest,
  changed: () => void,
  pollMs: () => number = () => POLL_MS,
): Disposable {
  const forget = guest.qmp.onEvent(({ event }) => {
    if (TELLING.has(event)) changed();
  });
  const ended = new AbortController();
  poll(guest, changed, pollMs, ended.signal).catch(changed);
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
  pollMs: () => number,
  ended: AbortSignal,
): Promise<void> {
  let known = await devices(guest);
  while (!ended.aborted) {
    await delay(pollMs());
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
