import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { VirtualClock } from "../../../src/simulation/world/clock.ts";
import { type Program, sleep, spawn } from "../../../src/simulation/world/process.ts";
import { Lock, SerialServer } from "../../../src/simulation/world/resources.ts";

describe("the clock", () => {
  test("events happen in order of time, and at one instant in order of scheduling", () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ delay: fc.nat(5), child: fc.option(fc.nat(3)) }), { maxLength: 60 }),
        (events) => {
          const clock = new VirtualClock();
          const seen: { readonly at: number; readonly order: number }[] = [];
          let order = 0;
          const schedule = (delay: number, child: number | null): void => {
            const mine = order++;
            const at = clock.now + delay;
            clock.after(delay, () => {
              expect(clock.now).toBe(at);
              seen.push({ at, order: mine });
              if (child !== null) schedule(child, null);
            });
          };
          for (const { delay, child } of events) schedule(delay, child);
          clock.run();
          expect(seen).toHaveLength(order);
          for (const [i, next] of seen.slice(1).entries()) {
            const { at, order: mine } = seen[i]!;
            expect(at < next.at || (at === next.at && mine < next.order)).toBe(true);
          }
        },
      ),
    );
  });

  test("a cancelled event does not happen and does not move the time", () => {
    const clock = new VirtualClock();
    let happened = 0;
    const cancel = clock.after(10, () => happened++);
    clock.after(5, () => happened++);
    cancel();
    clock.run();
    expect([happened, clock.now, clock.happened]).toEqual([1, 5, 1]);
  });

  test("it stops where it is told to, and goes on later", () => {
    const clock = new VirtualClock();
    const seen: number[] = [];
    for (const at of [1, 2, 3]) clock.after(at, () => seen.push(at));
    clock.run(2);
    expect(seen).toEqual([1, 2]);
    clock.run();
    expect(seen).toEqual([1, 2, 3]);
  });

  test.each([-1, Number.NaN, Infinity])("a delay of %d is refused", (delay) => {
    expect(() => new VirtualClock().after(delay, () => undefined)).toThrow(/a delay of/);
  });
});

/** Takes the lock, holds it for 10 ms, tells when. */
function* holder(clock: VirtualClock, lock: Lock, log: string[], name: string): Program {
  yield lock.take();
  try {
    log.push(`${name} takes it at ${clock.now}`);
    yield sleep(clock, 10);
  } finally {
    log.push(`${name} gives it up at ${clock.now}`);
    lock.release();
  }
}

describe("programs", () => {
  test("a server does one thing at a time, in order of arrival", () => {
    const clock = new VirtualClock();
    const server = new SerialServer(clock);
    const ended: (readonly [string, number])[] = [];
    function* client(name: string, ms: number): Program {
      yield server.serve(ms);
      ended.push([name, clock.now]);
    }
    spawn(client("a", 10));
    spawn(client("b", 5));
    clock.after(30, () => spawn(client("c", 1)));
    clock.run();
    expect(ended).toEqual([
      ["a", 10],
      ["b", 15],
      ["c", 31],
    ]);
  });

  test("a lock is had by one at a time, in order of arrival", () => {
    const clock = new VirtualClock();
    const lock = new Lock(clock);
    const log: string[] = [];
    for (const name of ["a", "b"]) spawn(holder(clock, lock, log, name));
    expect(lock.tryTake()).toBe(false);
    clock.run();
    expect(log).toEqual([
      "a takes it at 0",
      "a gives it up at 10",
      "b takes it at 10",
      "b gives it up at 20",
    ]);
    expect(lock.held).toBe(false);
  });

  test("who is killed while it holds the lock does not keep it", () => {
    const clock = new VirtualClock();
    const lock = new Lock(clock);
    const log: string[] = [];
    const a = spawn(holder(clock, lock, log, "a"));
    spawn(holder(clock, lock, log, "b"));
    clock.after(5, () => a.kill());
    clock.run();
    expect(log.slice(0, 3)).toEqual(["a takes it at 0", "a gives it up at 5", "b takes it at 5"]);
    expect(lock.held).toBe(false);
  });

  test("who is killed while the lock is on its way to it does not keep it", () => {
    const clock = new VirtualClock();
    const lock = new Lock(clock);
    const log: string[] = [];
    spawn(holder(clock, lock, log, "a"));
    const b = spawn(holder(clock, lock, log, "b"));
    spawn(holder(clock, lock, log, "c"));
    // At the instant in which "a" gives it up, and after that.
    clock.after(10, () => b.kill());
    clock.run();
    expect(log.slice(1)).toEqual(["a gives it up at 10", "c takes it at 10", "c gives it up at 20"]);
    expect(lock.held).toBe(false);
  });

  test("who is killed in the queue leaves it", () => {
    const clock = new VirtualClock();
    const lock = new Lock(clock);
    const log: string[] = [];
    spawn(holder(clock, lock, log, "a"));
    const b = spawn(holder(clock, lock, log, "b"));
    spawn(holder(clock, lock, log, "c"));
    clock.after(5, () => b.kill());
    clock.run();
    expect(log.filter((line) => line.startsWith("b"))).toEqual([]);
    expect(log.at(-1)).toBe("c gives it up at 20");
  });
});
