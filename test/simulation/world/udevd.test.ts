import { describe, expect, test } from "vitest";
import { VirtualClock } from "../../../src/simulation/world/clock.ts";
import { type Program, sleep, spawn } from "../../../src/simulation/world/process.ts";
import { Udevd, type Uevent } from "../../../src/simulation/world/udevd.ts";

function event(device: string, action: Uevent["action"] = "add"): Uevent {
  return { action, kind: "memory", device, dimm: 0, block: 0 };
}

/** A daemon whose workers take 10 ms for an event, and what they did when. */
function daemon(workers: number, timeout = 180_000, ms = 10, latency = 0) {
  const clock = new VirtualClock();
  const log: string[] = [];
  const udevd: Udevd = new Udevd(clock, {
    workers,
    timeout,
    latency,
    *handle({ device, action }): Program {
      log.push(`${clock.now} ${action} ${device}`);
      yield sleep(clock, ms);
    },
  });
  return { clock, udevd, log };
}

describe("udevd", () => {
  test("works on events of several devices at the same time, as many as it has workers", () => {
    const { clock, udevd, log } = daemon(2);
    for (const device of ["a", "b", "c"]) udevd.receive(event(device));
    clock.run();
    expect(log).toEqual(["0 add a", "0 add b", "10 add c"]);
    expect([udevd.processed, udevd.lastEmpty]).toEqual([3, 20]);
  });

  test("never works on two events of one device at the same time, and keeps their order", () => {
    const { clock, udevd, log } = daemon(8);
    for (const action of ["add", "online", "offline"] as const) udevd.receive(event("a", action));
    udevd.receive(event("b"));
    clock.run();
    expect(log).toEqual(["0 add a", "0 add b", "10 online a", "20 offline a"]);
  });

  test("takes an event up only after its latency, and is not empty meanwhile", () => {
    const { clock, udevd, log } = daemon(2, 180_000, 10, 7);
    let settled = -1;
    udevd.receive(event("a"));
    udevd.receive(event("a", "online"));
    expect(udevd.empty).toBe(false);
    spawn(udevd.settle(1000), () => (settled = clock.now));
    clock.run();
    expect(log).toEqual(["7 add a", "17 online a"]);
    expect([udevd.processed, settled]).toEqual([2, 27]);
  });

  test("kills a worker that takes longer than the limit, and goes on with the device's next event", () => {
    const { clock, udevd, log } = daemon(1, 5);
    udevd.receive(event("a"));
    udevd.receive(event("a", "online"));
    clock.run();
    expect(log).toEqual(["0 add a", "5 online a"]);
    expect([udevd.timeouts, udevd.empty]).toEqual([2, true]);
  });

  test("settle ends at once, at the first empty instant, or when its time is over", () => {
    const { clock, udevd } = daemon(1);
    const ended: (readonly [number, unknown])[] = [];
    const settle = (timeout: number): void => {
      spawn(udevd.settle(timeout), (empty) => ended.push([clock.now, empty]));
    };
    settle(100);
    udevd.receive(event("a"));
    udevd.receive(event("b"));
    settle(15);
    settle(3000);
    clock.run();
    expect(ended).toEqual([
      [0, true],
      [15, false],
      [20, true],
    ]);
  });

  test("many events cost no more than their number", () => {
    const { clock, udevd } = daemon(16, 180_000, 0.001);
    for (let i = 0; i < 20_000; i++) udevd.receive(event(`memory${i}`));
    clock.run();
    expect(udevd.processed).toBe(20_000);
  });
});
