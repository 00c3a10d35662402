/** Not sleeping while a guest stands still, and not for long. */
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { QemuGuest } from "../../../src/targets/qemu/guest.ts";
import { stayAwake } from "../../../src/targets/qemu/stay-awake.ts";
import { startFakeGuest } from "./fake-guest.ts";

/** The share of the time in which the event loop did not sleep. */
async function awakeDuring(work: () => Promise<unknown>): Promise<number> {
  const before = performance.eventLoopUtilization();
  await work();
  return performance.eventLoopUtilization(before).utilization;
}

test("until it is over this process does not sleep, then it does", async () => {
  const busy = await awakeDuring(async () => {
    using _ = stayAwake(10_000);
    await delay(100);
  });
  expect(busy).toBeGreaterThan(0.9);
  expect(await awakeDuring(async () => await delay(200))).toBeLessThan(0.5);
});

test("it sleeps again when the limit is over", async () => {
  using _ = stayAwake(5);
  expect(await awakeDuring(async () => await delay(500))).toBeLessThan(0.5);
});

test("a guest that stands still is worth it only for a moment", async () => {
  const fake = await startFakeGuest();
  try {
    await using guest = await QemuGuest.open(fake.path);
    let share = 1;
    await guest.pausedDuring(async () => (share = await awakeDuring(async () => await delay(200))));
    expect(share).toBeLessThan(0.5);
  } finally {
    await fake.stop();
  }
});
