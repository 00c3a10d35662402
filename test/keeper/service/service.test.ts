/** Many targets at once: what happens to one is nothing to the others. */
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test, vi } from "vitest";
import { named } from "../../../src/keeper/service/source.ts";
import { armedWith, dump, slots } from "../fake-target.ts";
import { Host, Listing, ServedFake } from "./served-fake.ts";
import { PATIENCE } from "../../patience.ts";

describe("targets of a service", () => {
  test("are each found, judged, and corrected as they change", async () => {
    await using host = new Host();
    const [a, b] = [host.start("qmp:/a"), host.start("qmp:/b")];
    host.service.keep(["qmp:/a", "qmp:/b"]);
    await host.until("qmp:/a", "accurate");
    await host.until("qmp:/b", "accurate");
    b.add(slots(0));
    b.tell();
    await host.until("qmp:/b", "installed");
    expect(dump(b)).toEqual(armedWith(b, [slots(0)]));
    expect(host.told("qmp:/a")).toEqual(["found", "accurate"]);
    expect(host.told("qmp:/b").slice(0, 3)).toEqual(["found", "accurate", "installed"]);
    expect(a.pauses).toBe(0);
    expect(host.service.targets).toEqual([
      { target: "qmp:/a", state: "watched", reason: undefined },
      { target: "qmp:/b", state: "watched", reason: undefined },
    ]);
  });

  test("carry the wall clock, also where it goes backwards", async () => {
    const times = [2_000_000, 1_000_000];
    await using host = new Host({ wallClock: () => times.shift() ?? 500_000 });
    host.start("qmp:/a");
    host.service.keep(["qmp:/a"]);
    await host.until("qmp:/a", "accurate");
    expect(host.events.map(({ at }) => at)).toEqual([2_000_000, 1_000_000]);
  });

  test("do not wait for one whose opening hangs, which is told of and tried again", async () => {
    await using host = new Host({ openLimitMs: 40 });
    const late: ServedFake[] = [];
    let hangs = true;
    host.opening = (target, signal) => {
      if (target !== "qmp:/hangs" || !hangs) return undefined;
      // What comes after all is closed again: nobody else could have the machine else.
      return new Promise((resolve) =>
        signal.addEventListener("abort", () => {
          late.push(new ServedFake());
          resolve(late.at(-1)!);
        }),
      );
    };
    const others = ["qmp:/a", "qmp:/b", "qmp:/c"];
    for (const target of others) host.start(target);
    host.service.keep(["qmp:/hangs", ...others]);
    for (const target of others) await host.until(target, "accurate");
    await host.until("qmp:/hangs", "unreachable");
    const { event } = host.events.find(({ target }) => target === "qmp:/hangs")!;
    expect(event).toEqual({ kind: "unreachable", reason: "It did not open within 0.04 s" });
    await vi.waitUntil(() => late.length >= 2, PATIENCE);
    expect(late[0]!.closed).toBe(1);
    // The same reason is told of once, however often it is tried.
    expect(host.told("qmp:/hangs")).toEqual(["unreachable"]);
    host.start("qmp:/hangs");
    hangs = false;
    await host.until("qmp:/hangs", "accurate");
  });

  test("are tried later and later, up to a limit", async () => {
    const times: number[] = [];
    await using host = new Host({ retryMs: [10, 5000] });
    host.opening = () => {
      times.push(performance.now());
      return undefined;
    };
    host.service.keep(["qmp:/a"]);
    await vi.waitUntil(() => times.length >= 5, PATIENCE);
    const gaps = times.slice(1, 5).map((time, i) => time - times[i]!);
    // 10, 20, 40, 80 ms; timers may be late, but not early.
    expect(gaps.map((gap, i) => gap >= 10 * 2 ** i - 1)).toEqual([true, true, true, true]);
  });

  test("are tried at once where the socket is another one", async () => {
    const listing = new Listing([{ target: "qmp:/a", token: "1" }]);
    // By itself it would come too late for this test.
    await using host = new Host({ retryMs: [60_000, 60_000], source: () => listing });
    host.service.keep(["qmp:/*"]);
    await host.until("qmp:/a", "unreachable");
    host.start("qmp:/a");
    listing.list({ target: "qmp:/a", token: "2" });
    await host.until("qmp:/a", "found");
    expect(host.told("qmp:/a").slice(0, 2)).toEqual(["unreachable", "found"]);
  });

  test("that end are told of as gone, and found again when they are started again", async () => {
    await using host = new Host();
    const first = host.start("qmp:/a");
    host.service.keep(["qmp:/a"]);
    await host.until("qmp:/a", "accurate");
    host.machines.delete("qmp:/a");
    first.lose("QEMU closed the connection");
    await host.until("qmp:/a", "gone");
    expect(first.closed).toBe(1);
    expect(host.service.targets[0]).toMatchObject({ state: "waiting" });
    await delay(30);
    // That there is no socket is what gone says.
    expect(host.told("qmp:/a")).toEqual(["found", "accurate", "gone"]);
    const second = host.start("qmp:/a");
    second.add(slots(0));
    await host.until("qmp:/a", "found", 2);
    await host.until("qmp:/a", "installed");
    expect(dump(second)).toEqual(armedWith(second, [slots(0)]));
  });

  test("that do not answer are told of as unreachable, others go on, and they are picked up again", async () => {
    await using host = new Host();
    const [a, b] = [host.start("qmp:/a"), host.start("qmp:/b")];
    host.service.keep(["qmp:/a", "qmp:/b"]);
    await host.until("qmp:/a", "accurate");
    await host.until("qmp:/b", "accurate");
    let silent = true;
    host.opening = (target) =>
      target === "qmp:/a" && silent ? Promise.reject(new Error("busy")) : undefined;
    a.lose("QEMU did not answer", { machineLost: true, machineSilent: true });
    await host.until("qmp:/a", "unreachable");
    b.add(slots(0));
    b.tell();
    await host.until("qmp:/b", "installed");
    expect(dump(b)).toEqual(armedWith(b, [slots(0)]));
    silent = false;
    await host.until("qmp:/a", "found", 2);
    expect(host.told("qmp:/a")).not.toContain("gone");
  });

  test("are kept all the same where a listener throws", async () => {
    const heard: string[] = [];
    await using host = new Host({
      listeners: [
        {
          onEvent: () => {
            throw new Error("disk full");
          },
        },
        { onEvent: ({ event }) => heard.push(event.kind) },
      ],
    });
    const machine = host.start("qmp:/a");
    machine.add(slots(0));
    host.service.keep(["qmp:/a"]);
    await vi.waitUntil(() => heard.includes("installed"), PATIENCE);
    expect(host.troubles[0]).toBe("A listener failed at found of qmp:/a: disk full");
    expect(dump(machine)).toEqual(armedWith(machine, [slots(0)]));
  });
});

describe("what is wanted", () => {
  test("can change: what is new is begun, what is left out is let go of, the rest is not touched", async () => {
    await using host = new Host();
    const [a, b, c] = ["qmp:/a", "qmp:/b", "qmp:/c"].map((target) => host.start(target));
    host.service.keep(["qmp:/a", "qmp:/b"]);
    await host.until("qmp:/a", "accurate");
    await host.until("qmp:/b", "accurate");
    host.service.keep(["qmp:/b", "qmp:/c"]);
    await host.until("qmp:/a", "gone");
    await host.until("qmp:/c", "accurate");
    expect(host.events.find(({ event }) => event.kind === "gone")?.event).toEqual({
      kind: "gone",
      reason: "it is not wanted any more",
    });
    expect([a, b, c].map((machine) => machine!.opened)).toEqual([1, 1, 1]);
    await vi.waitUntil(() => a!.closed === 1, PATIENCE);
    expect(host.service.targets.map(({ target }) => target)).toEqual(["qmp:/b", "qmp:/c"]);
    // And back again.
    host.service.keep(["qmp:/a", "qmp:/b", "qmp:/c"]);
    await host.until("qmp:/a", "accurate", 2);
  });

  test("stays as it was where a new target cannot be understood", async () => {
    await using host = new Host({
      source: (written) => {
        if (written === "nonsense") throw new Error("expected qmp:PATH");
        return named(written);
      },
    });
    host.start("qmp:/a");
    host.service.keep(["qmp:/a"]);
    expect(() => host.service.keep(["qmp:/b", "nonsense"])).toThrow("expected qmp:PATH");
    await host.until("qmp:/a", "accurate");
    expect(host.service.targets.map(({ target }) => target)).toEqual(["qmp:/a"]);
  });

  test("comes and goes behind a pattern; a guest whose socket's name goes is kept until it ends", async () => {
    const listing = new Listing();
    await using host = new Host({ source: () => listing });
    host.service.keep(["qmp:/run/*"]);
    expect(host.service.targets).toEqual([]);
    const machine = host.start("qmp:/run/a");
    listing.list({ target: "qmp:/run/a", token: "1" });
    await host.until("qmp:/run/a", "accurate");
    listing.list();
    machine.add(slots(0));
    machine.tell();
    await host.until("qmp:/run/a", "installed");
    machine.lose("QEMU has ended");
    await host.until("qmp:/run/a", "gone");
    await vi.waitUntil(() => host.service.targets.length === 0, PATIENCE);
    expect(machine.opened).toBe(1);
    listing.list({ target: "qmp:/run/a", token: "2" });
    await host.until("qmp:/run/a", "found", 2);
  });
});

describe("the end of a service", () => {
  test("lets an install that is under way come to its end", async () => {
    const host = new Host();
    const machine = host.start("qmp:/a");
    host.service.keep(["qmp:/a"]);
    await host.until("qmp:/a", "accurate");
    machine.pauseMs = 200;
    machine.add(slots(0));
    machine.tell();
    await vi.waitUntil(() => !machine.running, { ...PATIENCE, interval: 2 });
    const started = performance.now();
    expect(await host.service.stop(20)).toEqual(["qmp:/a"]);
    expect(performance.now() - started).toBeLessThan(2000);
    expect(machine.running).toBe(true);
    expect(dump(machine)).toEqual(armedWith(machine, [slots(0)]));
  });

  test("does not wait for what hangs", async () => {
    const host = new Host();
    host.opening = (target) => (target === "qmp:/opens" ? new Promise(() => undefined) : undefined);
    const closing = host.start("qmp:/closes");
    closing[Symbol.asyncDispose] = () => new Promise(() => undefined);
    host.start("qmp:/a");
    host.service.keep(["qmp:/opens", "qmp:/closes", "qmp:/a"]);
    await host.until("qmp:/closes", "accurate");
    await host.until("qmp:/a", "accurate");
    const started = performance.now();
    expect(await host.service.stop(100)).toEqual(["qmp:/closes"]);
    expect(performance.now() - started).toBeLessThan(1000);
    expect(host.service.targets.map(({ target }) => target)).not.toContain("qmp:/a");
  });
});

describe("a flood of changes", () => {
  test("of 10,000 a second takes looks by the dozen, and keeps nothing from the others (3 s of it)", async () => {
    await using host = new Host({ lookEveryMs: 1000 });
    const [flooded, other] = [host.start("qmp:/flooded"), host.start("qmp:/other")];
    host.service.keep(["qmp:/flooded", "qmp:/other"]);
    await host.until("qmp:/flooded", "accurate");
    await host.until("qmp:/other", "accurate");
    flooded.looks = 0;
    const installs = (): number => host.told("qmp:/other").filter((word) => word === "installed").length;
    /** Looks at the flooded one from the other's change until that was installed. */
    const meanwhile: number[] = [];
    let looksThen = 0;
    const started = performance.now();
    let told = 0;
    for (let added = 0; told < 30_000 || meanwhile.length < 5;) {
      // As many as are due by now: a timer of 1 ms may come late.
      for (; told < (performance.now() - started) * 10; told++) flooded.tell();
      if (installs() > meanwhile.length) meanwhile.push(flooded.looks - looksThen);
      // The next change comes when the last one has been seen: one install may cover two.
      if (told > 5000 * (added + 1) && added < 5 && meanwhile.length === added) {
        other.add(slots(added++));
        looksThen = flooded.looks;
        other.tell();
      }
      await delay(1);
    }
    // One each 100 ms once it is calm, and those until then.
    expect(flooded.looks).toBeLessThan(30 + (performance.now() - started) / 100);
    expect(installs()).toBe(5);
    // Behind the flood it would wait for dozens.
    expect(Math.max(...meanwhile)).toBeLessThanOrEqual(5);
    expect(dump(other)).toEqual(armedWith(other, [slots(0, 5)]));
    // What changes in the middle of it is seen, too.
    flooded.add(slots(7));
    flooded.tell();
    await host.until("qmp:/flooded", "installed");
    expect(dump(flooded)).toEqual(armedWith(flooded, [slots(7)]));
  });
});
