/**
 * Real events of the kernel under the tests, where it lets them be made. Others may make events meanwhile: so nothing
 * here counts on there being none.
 */
import { describe, expect, test, vi } from "vitest";
import { Keeper } from "../../../src/keeper/keeper.ts";
import { watch, type WatchEvent } from "../../../src/keeper/watch.ts";
import { call, loadSystemCalls } from "../../../src/targets/local/system-calls.ts";
import { parseUevent } from "../../../src/targets/local/uevent.ts";
import { openUeventSocket } from "../../../src/targets/local/uevent-socket.ts";
import { netlinkSource } from "../../../src/targets/local/uevent-sources.ts";
import { watchUevents } from "../../../src/targets/local/watch-uevents.ts";
import { nodeSha256 } from "../../../src/targets/sha256.ts";
import { armedWith, dump, FakeTarget, slots } from "../../keeper/fake-target.ts";
import { descriptors, makeEvents, makeOtherEvent, noEvents } from "./this-kernel.ts";
import { Watched } from "./watched.ts";

const reason = await noEvents();
const WAIT = { timeout: 20_000, interval: 2 };

describe.skipIf(reason)(`real uevents${reason ? ` (skipped: ${reason})` : ""}`, () => {
  test("of memory say to look again, and those of other devices are only counted", async () => {
    using watched = new Watched();
    await watched.hears("netlink");
    expect(watched.troubles).toEqual([]);
    const before = watched.changes;
    makeOtherEvent();
    await vi.waitFor(() => expect(watched.watch.counters.events).toBeGreaterThan(0), WAIT);
    makeEvents();
    await vi.waitFor(() => expect(watched.watch.counters.changes).toBeGreaterThan(0), WAIT);
    expect(watched.changes).toBeGreaterThan(before);
    const { events, changes, malformed } = watched.watch.counters;
    expect(events).toBeGreaterThan(changes);
    expect(malformed).toBe(0);
  });

  test("are heard again after each overrun, which is told once and counted", async () => {
    const start = netlinkSource(async () => openUeventSocket(await loadSystemCalls(), 4096));
    using watched = new Watched([{ kind: "netlink", start }]);
    await watched.hears("netlink");
    for (let round = 1; round <= 3; round++) {
      // All of them before the event loop comes to read one.
      makeEvents(200);
      await vi.waitFor(() => expect(watched.watch.counters.overruns).toBeGreaterThanOrEqual(round), WAIT);
      expect(watched.watch.counters.changes).toBeLessThan(200 * round);
      const { changes } = watched.watch.counters;
      makeEvents();
      await vi.waitFor(() => expect(watched.watch.counters.changes).toBeGreaterThan(changes), WAIT);
    }
    expect(watched.watch.source).toBe("netlink");
    expect(watched.troubles).toHaveLength(1);
  });

  test("are none where a process says the same, though root may send to their group", async () => {
    const calls = await loadSystemCalls();
    using socket = openUeventSocket(calls);
    const path = "/devices/system/memory/memory32/forged";
    const forged = Buffer.from(`add@${path}\0ACTION=add\0DEVPATH=${path}\0SUBSYSTEM=memory\0`);
    const fd = Number(call(calls, "open a socket", "socket", 16, 3, 15));
    try {
      // struct sockaddr_nl of group 1.
      const address = Uint8Array.of(16, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0);
      call(calls, "forge an event", "sendto", fd, forged, forged.length, 0, address, 12);
    } finally {
      calls.invoke("close", fd);
    }
    makeEvents();
    let foreign = 0;
    const told: (string | undefined)[] = [];
    for (let next = socket.receive(); next.kind !== "empty"; next = socket.receive()) {
      if (next.kind === "foreign") foreign++;
      if (next.kind === "uevent") told.push(parseUevent(next.datagram)?.devpath);
    }
    expect(foreign).toBeGreaterThan(0);
    expect(told).toContain("/devices/system/memory/memory0");
    expect(told).not.toContain(path);
    expect(parseUevent(forged)?.devpath).toBe(path);
  });

  test("need no descriptor any more once the watch has ended", async () => {
    await loadSystemCalls();
    const before = descriptors();
    for (let i = 0; i < 20; i++) {
      using watched = new Watched();
      await watched.hears("netlink");
      expect(descriptors()).toBeGreaterThan(before);
    }
    // Tests before this one may leave some that are just being closed.
    await vi.waitFor(() => expect(descriptors()).toBeLessThanOrEqual(before), WAIT);
  });

  test("3,840 at once are 20 installs at most, none is lost, and the first is not waited for", async () => {
    const target = new FakeTarget("file");
    const events: WatchEvent[] = [];
    const stop = new AbortController();
    let uevents: ReturnType<typeof watchUevents> | undefined;
    // The machine's own way to tell of a change is this kernel's, everything else of it is made of bytes.
    target.onChange = (changed) => {
      uevents = watchUevents({ onChange: changed, onTrouble: (trouble) => expect.fail(trouble) });
      return uevents;
    };
    const watching = watch(target, new Keeper(target, nodeSha256), {
      onEvent: (event) => events.push(event),
      signal: stop.signal,
      lookEveryMs: 60_000,
      verifyAfterMs: 60_000,
    });
    const installs = (): number => events.filter(({ kind }) => kind === "installed").length;
    try {
      await vi.waitFor(() => expect(uevents?.source).toBe("netlink"), WAIT);
      await vi.waitFor(() => expect(events).toHaveLength(1), WAIT);
      // As 480 DIMMs of 1 GiB do: eight blocks each, told of while the next ones are being added.
      target.add(slots(0));
      makeEvents(8);
      await vi.waitFor(() => expect(installs()).toBe(1), WAIT);
      for (let dimm = 1; dimm < 480; dimm++) {
        target.add(slots(dimm));
        makeEvents(8);
        if (dimm % 60 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      await vi.waitFor(() => expect(dump(target)).toEqual(armedWith(target, [slots(0, 480)])), WAIT);
      await vi.waitFor(() => expect(uevents?.counters.changes).toBeGreaterThanOrEqual(3840), WAIT);
      expect(uevents?.counters).toMatchObject({ overruns: 0, malformed: 0 });
      expect(installs()).toBeLessThanOrEqual(20);
    } finally {
      stop.abort();
      await watching;
    }
  });
});
