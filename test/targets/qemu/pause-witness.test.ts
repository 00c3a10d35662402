/** When a witness is told of a pause, as the guest sees it. */
import { expect, test } from "vitest";
import type { PauseWitness } from "../../../src/targets/qemu/pause-witness.ts";
import { QemuGuest } from "../../../src/targets/qemu/guest.ts";
import { type FakeGuest, startFakeGuest } from "./fake-guest.ts";

/** Notes what it is told among the commands that QEMU gets. */
function witnessOf(fake: FakeGuest): PauseWitness {
  const note = (what: string): void => void fake.log.push(`witness: ${what}`);
  return {
    ready: () => note("ready"),
    pausing: (guest) => {
      const isThis = "qmp" in guest && guest.qmp === fake.path;
      note(isThis ? "pausing" : `pausing ${JSON.stringify(guest)}`);
      return { over: () => note("over"), lost: () => note("lost") };
    },
  };
}

const TELLING = /^(witness: .*|stop|cont)$/;

async function told(fake: FakeGuest, work: (guest: QemuGuest) => Promise<void>): Promise<readonly string[]> {
  try {
    await using guest = await QemuGuest.open(fake.path, { pauseWitness: witnessOf(fake) });
    fake.log.length = 0;
    await guest.pausedDuring(async () => await work(guest)).catch(() => undefined);
    return fake.log.filter((line) => TELLING.test(line));
  } finally {
    await fake.stop();
  }
}

test("it is told before stop is sent, and after cont was answered", async () => {
  const fake = await startFakeGuest();
  expect(await told(fake, async () => undefined)).toEqual([
    "witness: ready",
    "witness: pausing",
    "stop",
    "cont",
    "witness: over",
  ]);
});

test("work that fails ends the pause as well", async () => {
  const fake = await startFakeGuest();
  const seen = await told(fake, async () => await Promise.reject(new Error("no")));
  expect(seen.slice(-2)).toEqual(["cont", "witness: over"]);
});

test("it is not told of a guest that stands still already", async () => {
  const fake = await startFakeGuest({ status: "paused" });
  expect(await told(fake, async () => undefined)).toEqual(["witness: ready"]);
});

test("a connection that is gone leaves the pause to it", async () => {
  const fake = await startFakeGuest();
  const seen = await told(fake, async () => {
    for (const socket of fake.connections) socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 50));
  });
  expect(seen).toEqual(["witness: ready", "witness: pausing", "stop", "witness: lost"]);
});

test("a guest that somebody else let run in the pause is no reason to tell it twice", async () => {
  const fake = await startFakeGuest();
  const seen = await told(fake, async (guest) => {
    await guest.memory.write(0x1000n, Uint8Array.of(1));
    fake.resume();
    await new Promise((resolve) => setTimeout(resolve, 20));
    await guest.memory.write(0x1000n, Uint8Array.of(2));
  });
  expect(seen.filter((line) => line.startsWith("witness"))).toEqual([
    "witness: ready",
    "witness: pausing",
    "witness: over",
  ]);
  expect(fake.state.running).toBe(true);
});
