import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { Gate } from "../../../src/keeper/service/gate.ts";

test("so many are let in at a time, in the order of asking", async () => {
  const gate = new Gate(3, 60_000);
  const order: number[] = [];
  let inside = 0;
  let most = 0;
  const work = Array.from({ length: 20 }, async (_, i) => {
    await gate.run(async () => {
      order.push(i);
      most = Math.max(most, ++inside);
      await delay(1);
      inside--;
    });
  });
  await Promise.all(work);
  expect(most).toBe(3);
  expect(order).toEqual(Array.from({ length: 20 }, (_, i) => i));
});

test("who hangs, fails or gives up waiting keeps nobody out", async () => {
  const gate = new Gate(2, 30);
  const started = performance.now();
  void gate.run(() => new Promise(() => undefined));
  void gate.run(() => new Promise(() => undefined));
  const gaveUp = new AbortController();
  const waiting = gate.run(async () => 1, gaveUp.signal);
  gaveUp.abort(new Error("gave up"));
  await expect(waiting).rejects.toThrow("gave up");
  await expect(gate.run(() => Promise.reject(new Error("bad")))).rejects.toThrow("bad");
  expect(performance.now() - started).toBeGreaterThan(15);
  expect(await Promise.all([2, 3, 4].map((n) => gate.run(async () => n)))).toEqual([2, 3, 4]);
});
