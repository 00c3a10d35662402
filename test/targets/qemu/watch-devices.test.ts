/** How often QEMU is asked what it has no event for. */
import { setTimeout as delay } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import { QemuGuest } from "../../../src/targets/qemu/guest.ts";
import { nextPollMs, watchDevices } from "../../../src/targets/qemu/watch-devices.ts";
import { startFakeGuest } from "./fake-guest.ts";
import { PATIENCE } from "../../patience.ts";

test.each([
  ["where nothing has changed", Infinity, 0, 8],
  ["right after a change", 0, 0, 2],
  ["a while after one", 2000, 0, 8],
  ["where many are watched, nobody more often than all can be", 0, 40, 40],
])("%s", (_, calmMs, atLeastMs, expected) => {
  expect(nextPollMs(8, calmMs, atLeastMs)).toBe(expected);
});

test("not while somebody waits for another answer; what came meanwhile is told of then", async () => {
  let plugged = 0;
  const sizes = (): unknown => ({ "base-memory": 0x100_0000, "plugged-memory": plugged });
  const fake = await startFakeGuest({ handlers: { "query-memory-size-summary": sizes } });
  try {
    await using guest = await QemuGuest.open(fake.path);
    const asked = (): number => fake.log.filter((line) => line === "query-memory-size-summary").length;
    let isBusy = false;
    let changes = 0;
    const asking = { atLeastMs: () => 0, isBusy: () => isBusy, isPaused: () => false };
    using _ = watchDevices(guest, () => changes++, asking);
    await vi.waitUntil(() => asked() > 3, PATIENCE);
    isBusy = true;
    // One may be under way.
    await delay(30);
    const before = asked();
    plugged = 1 << 27;
    await delay(60);
    expect(asked()).toBe(before);
    expect(changes).toBe(0);
    isBusy = false;
    await vi.waitUntil(() => changes > 0, PATIENCE);
    expect(changes).toBe(1);
  } finally {
    await fake.stop();
  }
});
