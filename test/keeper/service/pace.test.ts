import { expect, test } from "vitest";
import { Pace } from "../../../src/keeper/service/pace.ts";

test("few guests are asked every 8 ms; of many all together get a budget", () => {
  let now = 0;
  const pace = new Pace(() => now);
  const guests = Array.from({ length: 1000 }, () => ({}));
  const watched = guests.map((guest) => pace.enter(guest));
  expect(pace.pollEveryMs(guests[0]!)).toBe(2000);
  for (const each of watched.slice(4)) each[Symbol.dispose]();
  expect(pace.pollEveryMs(guests[0]!)).toBe(8);
  watched[9]![Symbol.dispose]();
  expect(pace.lookShare).toBe(4 * 50);
  now = 1;
});

test("where something happens it is asked more often, for a minute", () => {
  let now = 0;
  const pace = new Pace(() => now);
  const guests = Array.from({ length: 500 }, () => ({}));
  for (const guest of guests) pace.enter(guest);
  expect(pace.pollEveryMs(guests[0]!)).toBe(1000);
  for (const guest of guests.slice(0, 100)) pace.changed(guest);
  expect(pace.pollEveryMs(guests[0]!)).toBe(25);
  expect(pace.pollEveryMs(guests[400]!)).toBe(1000);
  now = 30_000;
  pace.changed(guests[0]!);
  now = 61_000;
  expect(pace.pollEveryMs(guests[0]!)).toBe(0.25);
  expect(pace.pollEveryMs(guests[1]!)).toBe(1000);
});

test("hashes after changes take a fifteenth of the time at most, all together, and not all at a time", () => {
  const pace = new Pace(() => 0);
  for (let i = 0; i < 100; i++) pace.hashed(20);
  const guests = Array.from({ length: 101 }, () => ({}));
  expect(pace.verifyAfterMs).toBe(250);
  pace.changed(guests[0]!);
  expect(pace.verifyAfterMs).toBe(250);
  for (const guest of guests) pace.changed(guest);
  const waits = guests.map(() => pace.verifyAfterMs).toSorted((a, b) => a - b);
  expect(waits.reduce((sum, ms) => sum + ms) / waits.length).toBeCloseTo(100 * 20 * 15, -3);
  expect(waits[0]!).toBeGreaterThan(15_000);
  expect(waits[100]!).toBeLessThan(45_000);
  for (let i = 1; i < 101; i++) expect(waits[i]! - waits[i - 1]!).toBeLessThan(750);
});
