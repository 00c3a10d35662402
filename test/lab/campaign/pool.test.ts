import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { retried, runPool } from "../../../src/lab/campaign/pool.ts";

const ITEMS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

describe("a pool", () => {
  test.each([1, 2, 3, 20])("runs all, in order, never more than %i at a time", async (jobs) => {
    const begun: number[] = [];
    let [under, most] = [0, 0];
    const run = async (item: number): Promise<void> => {
      begun.push(item);
      most = Math.max(most, ++under);
      for (let turns = 0; turns <= item % 3; turns++) await turn();
      under--;
    };
    expect(await runPool(ITEMS, { jobs, deadline: Infinity, run })).toBe(ITEMS.length);
    expect(begun).toEqual(ITEMS);
    expect(most).toBe(Math.min(jobs, ITEMS.length));
  });

  test("begins nothing after its deadline, and says how many were run", async () => {
    let time = 0;
    const run = async (): Promise<void> => void (time += 10);
    expect(await runPool(ITEMS, { jobs: 1, deadline: 35, now: () => time, run })).toBe(4);
  });

  test("throws what failed first, once what is under way has ended", async () => {
    const ended: number[] = [];
    const run = async (item: number): Promise<void> => {
      if (item === 1) throw new Error("first");
      for (let turns = 0; turns < 5; turns++) await turn();
      ended.push(item);
    };
    await expect(runPool(ITEMS, { jobs: 2, deadline: Infinity, run })).rejects.toThrow("first");
    expect(ended).toEqual([0]);
  });

  test("throws the signal's reason, not what it made others throw, and nothing is under way then", async () => {
    const stop = new AbortController();
    let under = 0;
    const run = async (item: number): Promise<void> => {
      under++;
      if (item === 3) stop.abort(new Error("interrupted"));
      await turn();
      under--;
      if (stop.signal.aborted) throw new Error("the guest was killed");
    };
    const pool = runPool(ITEMS, { jobs: 2, deadline: Infinity, signal: stop.signal, run });
    await expect(pool).rejects.toThrow("interrupted");
    expect(under).toBe(0);
  });
});

describe("work that is begun anew", () => {
  const lose = new Error("lost");

  test("is told how often it was lost, until it comes to its end", async () => {
    const told: unknown[] = [];
    const work = async (lost: number): Promise<number> => {
      if (lost < 2) throw lose;
      return lost;
    };
    expect(
      await retried(
        3,
        (error) => error === lose,
        (error) => told.push(error),
        work,
      ),
    ).toBe(2);
    expect(told).toEqual([lose, lose]);
  });

  test("fails in the end, and at once with what is no loss", async () => {
    let times = 0;
    const failing = (error: Error) => async (): Promise<never> => {
      times++;
      throw error;
    };
    const isLoss = (error: unknown): boolean => error === lose;
    await expect(retried(3, isLoss, () => undefined, failing(lose))).rejects.toThrow("lost");
    expect(times).toBe(3);
    await expect(retried(3, isLoss, () => undefined, failing(new Error("other")))).rejects.toThrow("other");
    expect(times).toBe(4);
  });
});
