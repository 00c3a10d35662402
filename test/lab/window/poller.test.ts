import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { openSync, closeSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { MeasurementError } from "../../../src/lab/errors.ts";
import { hostNow, type WatchedMemory, WindowPoller } from "../../../src/lab/window/poller.ts";
import { PLACES, RAM_SIZE, WatchedRam } from "./ram.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdump-hotplug-test-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** A RAM file, and memory of which it is the RAM. */
async function ramFile(ram: WatchedRam): Promise<WatchedMemory & { readonly path: string }> {
  const path = join(directory, "ram");
  await writeFile(path, ram.bytes);
  return {
    path,
    directPieces: [{ start: 0n, end: BigInt(RAM_SIZE), path, offset: 0n }],
    read: async (address, length) =>
      new Uint8Array(ram.bytes.subarray(Number(address), Number(address) + length)),
  };
}

/** How long a state lasts: far longer than a thread waits for its turn, also where others want both cores. */
const LASTS_MS = 300;

test("a thread of its own sees what happens in the RAM file, by the host's clock", async () => {
  const ram = new WatchedRam();
  ram.load();
  const memory = await ramFile(ram);
  await using poller = await WindowPoller.start(memory, PLACES);
  expect(poller.pages).toBe(1000);
  const fd = openSync(memory.path, "r+");
  const before = hostNow();
  writeSync(fd, Buffer.from([1]), 0, 1, Number(PLACES.lock));
  await delay(LASTS_MS);
  writeSync(fd, Buffer.from([0]), 0, 1, Number(PLACES.lock));
  const after = hostNow();
  closeSync(fd);
  await delay(LASTS_MS);
  const { states, headers, samples, medianGapMs } = await poller.stop();
  expect(states.map(({ image, locked }) => [image, locked])).toEqual([
    [true, false],
    [true, true],
    [true, false],
  ]);
  expect(states[1]!.at).toBeGreaterThanOrEqual(before);
  expect(states[1]!.at).toBeLessThan(after);
  expect(states[2]!.at - states[1]!.at).toBeGreaterThan(5);
  expect(headers).toHaveLength(1);
  expect(samples).toBeGreaterThan(10);
  expect(medianGapMs).toBeGreaterThan(0);
});

test("RAM that is in no shared file cannot be watched", async () => {
  const memory = { ...(await ramFile(new WatchedRam())), directPieces: [] };
  await expect(WindowPoller.start(memory, PLACES)).rejects.toThrow(MeasurementError);
});

test("a thread that fails says why to whoever starts it", async () => {
  const memory = await ramFile(new WatchedRam());
  const gone = memory.directPieces.map((piece) => ({ ...piece, path: "/nonexistent/ram" }));
  await expect(WindowPoller.start({ ...memory, directPieces: gone }, PLACES)).rejects.toThrow("ENOENT");
});
