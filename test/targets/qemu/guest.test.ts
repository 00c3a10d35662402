import { spawnSync } from "node:child_process";
import { readdir } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, describe, expect, it, vi } from "vitest";

import { MemoryAccessError } from "../../../src/image/memory.ts";
import { GdbError } from "../../../src/targets/qemu/gdb-remote.ts";
import { finishing } from "../../../src/targets/qemu/finishing.ts";
import { encodePacket } from "../../../src/targets/qemu/gdb-packet.ts";
import { GdbDoor } from "../../../src/targets/qemu/gdb-memory.ts";
import { QemuGuest } from "../../../src/targets/qemu/guest.ts";
import { ownMark } from "../../../src/targets/process-mark.ts";
import { type FakeGuest, type FakeGuestOptions, startFakeGuest } from "./fake-guest.ts";
import { Refusal, SILENCE } from "./fake-qmp.ts";

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

async function open(
  options: FakeGuestOptions = {},
): Promise<{ readonly guest: QemuGuest; readonly fake: FakeGuest }> {
  const fake = await startFakeGuest(options);
  cleanUps.push(fake.stop);
  const guest = await QemuGuest.open(fake.path, { tmpDir: fake.directory });
  cleanUps.push(async () => await guest.close());
  return { guest, fake };
}

/** The mark of a process of our pid namespace that has ended. */
function markOfTheDead(): string {
  const { pid } = spawnSync(process.execPath, ["--version"]);
  return ownMark().replace(/^\d+/, String(pid));
}

/**
 * From here on time stands still, until `elapse` lets a limit pass whose length nobody has to sit through: `begun` tells
 * that what it limits is under way. Only timers are ours: sockets go on as they do.
 */
function holdTime(): (ms: number, begun?: () => boolean) => Promise<void> {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  cleanUps.push(async () => vi.useRealTimers());
  return async (ms, begun = () => true) => {
    // Not `expect.poll`, which lets our time go on by itself.
    while (!begun() || vi.getTimerCount() === 0) await new Promise((resolve) => setImmediate(resolve));
    await vi.advanceTimersByTimeAsync(ms);
  };
}

const events = (guest: QemuGuest): string[] => {
  const seen: string[] = [];
  guest.qmp.onEvent(({ event }) => seen.push(event));
  return seen;
};

describe("memory without a shared file", () => {
  it("shows boot RAM and DIMMs, and neither holes nor ROM nor video memory", async () => {
    const { guest } = await open();
    expect(guest.memory.access).toBe("gdbstub");
    expect(guest.memory.whyNotDirect).toBe(
      "dimm0-backend: its memory backend has share=off; ram0: its memory backend has share=off",
    );
    expect(await guest.memory.ranges()).toEqual([
      { start: 0n, end: 0xa0000n },
      { start: 0x100000n, end: 0x1000000n },
      { start: 0x1_0000_0000n, end: 0x1_0020_0000n },
    ]);
  });

  it("writes through the gdbstub while the guest stands still, then lets it run", async () => {
    const { guest, fake } = await open();
    const seen = events(guest);
    await guest.memory.write(0x1_0000_0000n, Uint8Array.of(1, 2, 3));
    expect(seen).toEqual(["STOP", "RESUME"]);
    expect(fake.state.running).toBe(true);
    expect(await guest.memory.read(0x1_0000_0000n, 3)).toEqual(Uint8Array.of(1, 2, 3));
    expect(fake.gdbLog()).toEqual([
      "qSupported",
      "Qqemu.PhyMemMode:1",
      "M100000000,3:010203",
      "Qqemu.PhyMemMode:0",
      "D",
    ]);
    expect(fake.log.slice(-3)).toContain("hmp:gdbserver none");
    // Nothing is left of the private directory.
    expect(await readdir(fake.directory)).toEqual(["socket"]);
  });

  it("leaves a guest paused that was paused before: never detaches from it", async () => {
    const { guest, fake } = await open({ status: "paused" });
    const seen = events(guest);
    await guest.memory.write(0x100000n, Uint8Array.of(9));
    expect(fake.gdbLog()).not.toContain("D");
    expect(fake.state).toEqual({ status: "paused", running: false });
    expect(seen).toEqual([]);
  });

  it.each([
    ["refuses the write", (request: string) => (request.startsWith("M") ? "E14" : undefined)],
    ["has no physical mode", (request: string) => (request === "Qqemu.PhyMemMode:1" ? "" : undefined)],
    ["refuses the detach", (request: string) => (request === "D" ? "E22" : undefined)],
  ])("lets the guest run again when the stub %s", async (_name, gdb) => {
    const { guest, fake } = await open({ gdb });
    const outcome: unknown = await guest.memory
      .write(0x100000n, Uint8Array.of(1))
      .catch((error: unknown) => error);
    expect(outcome === undefined || outcome instanceof GdbError).toBe(true);
    expect(fake.state.running).toBe(true);
    expect(await readdir(fake.directory)).toEqual(["socket"]);
  });

  it.each(["running", "paused"])("restores %s when the stub dies in the middle", async (status) => {
    const { guest, fake } = await open({
      status,
      gdb: (request, socket) => (request.startsWith("M") ? (socket.destroy(), "handled") : undefined),
    });
    await expect(guest.memory.write(0x100000n, Uint8Array.of(1))).rejects.toThrow(
      "gdbstub closed the connection",
    );
    expect(fake.state.status).toBe(status);
  });

  it("stops a guest again that the stub has started against our will", async () => {
    const fake = await startFakeGuest({ status: "prelaunch" });
    cleanUps.push(fake.stop);
    const guest = await QemuGuest.open(fake.path, { tmpDir: fake.directory });
    cleanUps.push(async () => await guest.close());
    const door = await GdbDoor.open(guest.qmp, { tmpDir: fake.directory });
    await finishing(
      async () => {
        await door.attach();
        fake.state.running = true;
        fake.state.status = "running";
      },
      async () => await door.close(),
    );
    expect(fake.state.running).toBe(false);
  });

  it("runs writes that are asked for at once one after the other", async () => {
    const { guest, fake } = await open();
    const writes = [0, 1, 2, 3].map(async (at) => {
      await guest.memory.write(0x100000n + BigInt(at), Uint8Array.of(at + 1));
    });
    await Promise.all(writes);
    expect(await guest.memory.read(0x100000n, 4)).toEqual(Uint8Array.of(1, 2, 3, 4));
    expect(fake.state.running).toBe(true);
  });

  it("lets the guest run when the stub stays silent and stops it late", async () => {
    const { guest, fake } = await open({ gdb: () => "handled" });
    const late = guest.qmp.onEvent(({ event }) => {
      // QEMU accepts our connection only after we have given it up and looked at the run state.
      if (event !== "RESUME") return;
      late();
      fake.state.running = false;
      fake.state.status = "paused";
    });
    const elapse = holdTime();
    const written: Promise<unknown> = guest.memory
      .write(0x100000n, Uint8Array.of(1))
      .catch((error: unknown) => error);
    await elapse(3000, () => fake.gdbLog().includes("qSupported"));
    expect(await written).toMatchObject({ message: 'gdbstub did not answer "qSupported" within 3000 ms' });
    expect(fake.state.running).toBe(true);
  });

  it("says what to do when QEMU cannot open the stub", async () => {
    const { guest, fake } = await open({ gdbserver: "Failed to bind socket: Permission denied\r\n" });
    await expect(guest.memory.write(0x100000n, Uint8Array.of(1))).rejects.toThrow(
      /cannot open its gdbstub .*\(Failed to bind socket: Permission denied\): run as root/,
    );
    expect(await readdir(fake.directory)).toEqual(["socket"]);
  });

  it("takes over a stub that a killed process of ours has left", async () => {
    const filename = `disconnected:unix:/nonexistent/kdump-hotplug-memory-${markOfTheDead()}-Ab12Cd/gdb,server=on`;
    const { guest, fake } = await open({
      handlers: { "query-chardev": () => [{ label: "gdb", filename }] },
    });
    await guest.memory.write(0x100000n, Uint8Array.of(1));
    expect(
      fake.log.filter((line) => line.startsWith("hmp:gdbserver")).map((line) => line.slice(4, 18)),
    ).toEqual(["gdbserver none", "gdbserver unix", "gdbserver none"]);
  });

  it("does not take the stub away from a keeper that may be alive", async () => {
    const elsewhere = markOfTheDead().replace(/\.\d+$/, ".1");
    for (const mark of [ownMark(), elsewhere]) {
      const filename = `disconnected:unix:/nonexistent/kdump-hotplug-memory-${mark}-Ab12Cd/gdb,server=on`;
      const { guest, fake } = await open({
        handlers: { "query-chardev": () => [{ label: "gdb", filename }] },
      });
      await expect(guest.memory.write(0x100000n, Uint8Array.of(1))).rejects.toThrow(/is in use/);
      expect(fake.log).not.toContain("hmp:gdbserver none");
    }
  });

  it("does not take the stub away from a debugger", async () => {
    const { guest, fake } = await open({
      handlers: { "query-chardev": () => [{ label: "gdb", filename: "tcp:127.0.0.1:1234,server=on" }] },
    });
    await expect(guest.memory.write(0x100000n, Uint8Array.of(1))).rejects.toThrow(
      "gdbstub of this QEMU is in use (tcp:127.0.0.1:1234,server=on)",
    );
    expect(fake.log).not.toContain("hmp:gdbserver none");
  });

  it("does not touch a guest that is migrating in", async () => {
    const { guest } = await open({ status: "inmigrate" });
    await expect(guest.memory.write(0x100000n, Uint8Array.of(1))).rejects.toThrow(
      "its memory is being moved",
    );
  });

  it("reads large spans by pmemsave, across blocks, and removes the file", async () => {
    const { guest, fake } = await open();
    fake.memory.set(0x200000n, 0x5a);
    fake.memory.set(0x20ffffn, 0xa5);
    const bytes = await guest.memory.read(0x200000n, 0x10000);
    expect([bytes[0], bytes[1], bytes[0xffff]]).toEqual([0x5a, 0, 0xa5]);
    expect(fake.log).toContain("pmemsave");
    expect(fake.gdbLog()).toEqual([]);
    expect(await readdir(fake.directory)).toEqual(["socket"]);
  });

  it("reads small spans of any length without a file", async () => {
    const { guest, fake } = await open();
    for (let at = 0; at < 64; at++) fake.memory.set(0x300000n + BigInt(at), at);
    for (const length of [1, 7, 8, 13, 16, 64]) {
      expect(await guest.memory.read(0x300000n, length)).toEqual(Uint8Array.from({ length }, (_, at) => at));
    }
    expect(await guest.memory.read(0x300000n, 0)).toEqual(new Uint8Array());
    expect(fake.log).not.toContain("pmemsave");
  });

  it.each([
    [
      "says Permission denied",
      () => {
        throw new Refusal("Could not open 'x': Permission denied");
      },
      "Permission denied",
    ],
    ["writes elsewhere", () => ({}), "cannot be read"],
  ])("says what to do when QEMU %s", async (_name, pmemsave, words) => {
    const { guest, fake } = await open({ handlers: { pmemsave } });
    await expect(guest.memory.read(0x200000n, 0x10000)).rejects.toThrow(words);
    expect(await readdir(fake.directory)).toEqual(["socket"]);
  });

  it.each([
    [0xa0000n, 1],
    [0x9fff0n, 32],
    [0xf0000n, 16],
    [0xfd000000n, 8],
    [0xffffffn, 2],
    [2n ** 64n - 1n, 16],
    [-1n, 4],
  ])("refuses 0x%s, %i bytes: not RAM, and nothing is asked of the stub", async (address, length) => {
    const { guest, fake } = await open();
    await expect(guest.memory.read(address, length)).rejects.toBeInstanceOf(MemoryAccessError);
    await expect(guest.memory.write(address, new Uint8Array(length))).rejects.toBeInstanceOf(
      MemoryAccessError,
    );
    expect(fake.gdbLog()).toEqual([]);
  });

  it("looks again after a DIMM has gone", async () => {
    let gone = false;
    const { guest, fake } = await open({
      mtree: () =>
        `FlatView #0\n AS "memory", root: system\n  0000000000100000-0000000000ffffff (prio 0, ram): ram0 @0000000000100000\n${
          gone ? "" : "  0000000100000000-00000001001fffff (prio 0, ram): dimm0-backend\n"
        }`,
    });
    expect(await guest.memory.read(0x1_0000_0000n, 1)).toEqual(Uint8Array.of(0));
    gone = true;
    const told = guest.qmp.waitForEvent("DEVICE_DELETED");
    const line = '{"event": "DEVICE_DELETED", "data": {}, "timestamp": {"seconds": 1, "microseconds": 1}}\n';
    fake.connections[0]?.write(line);
    await told;
    // Boot RAM is where it was: the header can be corrected before the map is read anew.
    const asked = fake.log.length;
    expect(await guest.memory.bootRanges()).toEqual([{ start: 0x100000n, end: 0x1000000n }]);
    await guest.memory.read(0x100000n, 1);
    expect(fake.log.slice(asked)).toEqual(["hmp:xp /1xb 0x100000"]);
    await expect(guest.memory.read(0x1_0000_0000n, 1)).rejects.toBeInstanceOf(MemoryAccessError);
  });

  it("fails clearly where a shared file is demanded", async () => {
    const fake = await startFakeGuest();
    cleanUps.push(fake.stop);
    await expect(QemuGuest.open(fake.path, { access: "shared" })).rejects.toThrow(
      "share=on, or allow the gdbstub",
    );
  });
});

describe("pausedDuring", () => {
  it("opens the stub before the pause, attaches in it, and measures it", async () => {
    const { guest, fake } = await open();
    const seen = events(guest);
    const result = await guest.pausedDuring(async () => {
      await guest.memory.write(0x100000n, Uint8Array.of(1));
      await guest.memory.write(0x100010n, Uint8Array.of(2));
      return await guest.memory.read(0x100010n, 1);
    });
    expect(result).toEqual(Uint8Array.of(2));
    expect(seen).toEqual(["STOP", "RESUME"]);
    expect(guest.lastPauseMicroseconds).toBe(250);
    const order = fake.log
      .filter((line) => /gdbserver|^stop$|^cont$/.test(line))
      .map((line) => line.slice(0, 14));
    expect(order).toEqual(["hmp:gdbserver ", "stop", "cont", "hmp:gdbserver "]);
    expect(fake.gdbLog().filter((line) => line === "qSupported")).toHaveLength(1);
    expect(fake.gdbLog()).not.toContain("D");
  });

  it("asks the monitor nothing twice between stop and cont, and leaves physical mode off", async () => {
    const { guest, fake } = await open();
    fake.memory.set(0x100001n, 7);
    await guest.pausedDuring(async () => {
      expect(await guest.memory.read(0x100000n, 3)).toEqual(Uint8Array.of(0, 7, 0));
      await guest.memory.write(0x100000n, Uint8Array.of(1));
      expect(await guest.memory.read(0x100000n, 3)).toEqual(Uint8Array.of(1, 7, 0));
    });
    const asked = fake.log.slice(fake.log.indexOf("stop") + 1, fake.log.indexOf("cont"));
    // That was sent behind `stop`, and is not waited for where the guest is not written to. Where the test's machine was
    // slow, our own stop is not fresh any more.
    expect(asked.filter((line) => line !== "query-status")).toEqual(["query-migrate"]);
    expect(asked.length).toBeLessThan(3);
    expect(fake.gdbLog()).toEqual([
      "qSupported",
      "Qqemu.PhyMemMode:1",
      "m100000,3",
      "M100000,1:01",
      "m100000,3",
      "Qqemu.PhyMemMode:0",
    ]);
  });

  it.each(["running", "paused"])("reads and writes nothing when the stub fails; %s stays", async (status) => {
    const { guest, fake } = await open({
      status,
      gdb: (request) => (request === "Qqemu.PhyMemMode:1" ? "" : undefined),
    });
    const pause = guest.pausedDuring(async () => {
      const done = await Promise.allSettled([
        guest.memory.read(0x10_0000n, 3),
        guest.memory.write(0x10_0000n, Uint8Array.of(1)),
      ]);
      expect(done.map((each) => each.status)).toEqual(["rejected", "rejected"]);
      await guest.memory.read(0x10_0000n, 3);
    });
    await expect(pause).rejects.toThrow("use QEMU 4.1 or newer");
    expect(fake.gdbLog().filter((line) => line.startsWith("M"))).toEqual([]);
    expect(fake.state.status).toBe(status);
    expect(await readdir(fake.directory)).toEqual(["socket"]);
  });

  it("lets the guest run again, with physical mode off, when a read in the pause is refused", async () => {
    const { guest, fake } = await open({
      gdb: (request) => (request.startsWith("m") ? "E14" : undefined),
    });
    const reads = guest.pausedDuring(
      async () => await Promise.all([guest.memory.read(0x100000n, 1), guest.memory.read(0x200000n, 5000)]),
    );
    await expect(reads).rejects.toThrow('answered "E14"');
    expect(fake.state.running).toBe(true);
    expect(fake.gdbLog().at(-1)).toBe("Qqemu.PhyMemMode:0");
  });

  it("resumes when the work fails, and passes its error on", async () => {
    const { guest, fake } = await open();
    const mistake = new Error("Mistake");
    await expect(
      guest.pausedDuring(async () => {
        await guest.memory.write(0x100000n, Uint8Array.of(1));
        throw mistake;
      }),
    ).rejects.toBe(mistake);
    expect(fake.state.running).toBe(true);
  });

  it.each(["paused", "prelaunch", "guest-panicked"])("leaves a guest that is %s as it is", async (status) => {
    const { guest, fake } = await open({ status });
    await guest.pausedDuring(async () => await guest.memory.write(0x100000n, Uint8Array.of(1)));
    expect(fake.state).toEqual({ status, running: false });
    expect(fake.log).not.toContain("stop");
    expect(fake.log).not.toContain("cont");
    expect(guest.lastPauseMicroseconds).toBeUndefined();
  });

  it("tells both when the work fails and the guest cannot be resumed", async () => {
    const { guest } = await open({
      handlers: {
        cont: () => {
          throw new Refusal("Resetting the Virtual Machine is required");
        },
      },
    });
    const error: unknown = await guest
      .pausedDuring(async () => await Promise.reject(new Error("Mistake")))
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(AggregateError);
    expect(error).toMatchObject({
      message: expect.stringMatching(/^Mistake; and afterwards: QEMU refused "cont": Resetting/),
    });
  });

  it.each([
    ["running", 0],
    ["running", 50],
    ["paused", 0],
  ])("writes nothing where a guest that was %s is let run %i ms into the pause", async (status, ms) => {
    const { guest, fake } = await open({ status });
    const pause = guest.pausedDuring(async () => {
      await delay(ms);
      fake.resume();
      await guest.memory.write(0x100000n, Uint8Array.of(1));
    });
    await expect(pause).rejects.toMatchObject({ kind: "changed", message: /let the guest run in our pause/ });
    expect(fake.gdbLog().filter((line) => line.startsWith("M"))).toEqual([]);
    expect(fake.state.running).toBe(true);
  });

  it("refuses all writes that are made together where somebody else has let the guest run", async () => {
    const { guest, fake } = await open({ status: "paused" });
    const pause = guest.pausedDuring(async () => {
      fake.resume();
      const done = await Promise.allSettled(
        [0n, 1n, 2n].map(async (at) => await guest.memory.write(0x100000n + at, Uint8Array.of(1))),
      );
      expect(done.map((each) => each.status)).toEqual(["rejected", "rejected", "rejected"]);
    });
    await pause;
    expect(fake.gdbLog().filter((line) => line.startsWith("M"))).toEqual([]);
  });

  it("sends writes that are made together in one breath, in their order", async () => {
    const held: string[] = [];
    const { guest, fake } = await open({
      status: "running",
      gdb: (request, socket) => {
        if (!request.startsWith("M")) return undefined;
        held.push(request);
        // No answer before all three have come.
        if (held.length === 3)
          socket.write(Buffer.concat(held.flatMap(() => [Buffer.from("+"), encodePacket("OK")])));
        return "handled";
      },
    });
    await guest.pausedDuring(async () => {
      await Promise.all(
        [0n, 1n, 2n].map(async (at) => await guest.memory.write(0x100000n + at, Uint8Array.of(1))),
      );
    });
    expect(held).toEqual(["M100000,1:01", "M100001,1:01", "M100002,1:01"]);
    expect(fake.state.running).toBe(true);
  });

  it("stops a guest again that somebody else has let run between two writes, so that the first can be undone", async () => {
    for (const status of ["running", "paused"]) {
      const { guest, fake } = await open({ status });
      const running: boolean[] = [];
      fake.onWrite = () => running.push(fake.state.running);
      const pause = guest.pausedDuring(async () => {
        await guest.memory.write(0x100000n, Uint8Array.of(1));
        fake.resume();
        // Its event is on its way to us.
        await guest.memory.read(0x100000n, 1);
        await delay(20);
        try {
          await guest.memory.write(0x100001n, Uint8Array.of(2));
        } finally {
          await guest.memory.write(0x100000n, Uint8Array.of(0));
        }
      });
      await expect(pause).rejects.toMatchObject({ kind: "changed" });
      expect(running).toEqual([false, false]);
      expect(await guest.memory.read(0x100000n, 2)).toEqual(Uint8Array.of(0, 0));
      // Who let it run wants it to run, also where it did not before.
      expect(fake.state.running).toBe(true);
    }
  });

  it.each([
    ["stop", "is refused", () => refuse("Not now")()],
    ["query-status", "gives nonsense after stop", undefined],
  ])("sends cont behind stop when %s %s", async (command, _what, handler) => {
    let asked = 0;
    const { guest, fake } = await open({
      handlers: {
        // No event: then QEMU is asked.
        stop: () => ({}),
        [command]: handler ?? (() => (++asked === 1 ? { status: "running", running: true } : 7)),
      },
    });
    await expect(guest.pause()).rejects.toThrow(/"(stop|query-status)"/);
    expect(fake.log.at(-1)).toBe("cont");
  });

  it("sends cont behind a stop that is not answered in time, and QEMU gets to read it when we have gone", async () => {
    const seen: string[] = [];
    const { guest, fake } = await open({
      handlers: {
        stop: (_args, socket) => {
          // As a process that stands still: what comes now is read later.
          socket.pause();
          return SILENCE;
        },
        cont: () => (seen.push("cont"), {}),
      },
    });
    const elapse = holdTime();
    let ended = false;
    const outcome: Promise<unknown> = guest
      .pausedDuring(async () => await Promise.resolve())
      .catch((error: unknown) => error)
      .finally(() => (ended = true));
    await elapse(10_000, () => fake.log.includes("stop"));
    // What remains is `cont`, which is not answered either.
    await elapse(9_999);
    expect(ended).toBe(false);
    await elapse(1);
    expect(await outcome).toMatchObject({
      message: expect.stringMatching(/did not answer "stop" within 10000 ms: .*"cont" was sent behind it/),
    });
    await guest.close();
    for (const socket of fake.connections) socket.resume();
    await expect.poll(() => seen).toEqual(["cont"]);
  });

  it("notices a guest that does not stop", async () => {
    const { guest } = await open({ handlers: { stop: () => ({}) } });
    await expect(guest.pause()).rejects.toThrow('Guest is "running" after "stop"');
  });
});

describe("a QEMU that answers nonsense", () => {
  it.each([
    ["query-status", () => ({ status: 7, running: true }), "status"],
    ["query-memdev", () => [{ id: "ram0", size: -1 }], "query-memdev"],
    ["query-memory-devices", () => "none", "query-memory-devices"],
    ["qom-get", () => 5, "qom-get"],
    ["human-monitor-command", () => null, "human-monitor-command"],
  ])("is told apart by %s", async (command, handler, words) => {
    const fake = await startFakeGuest({ handlers: { [command]: handler } });
    cleanUps.push(fake.stop);
    const attempt = QemuGuest.open(fake.path).then(async (guest) => {
      cleanUps.push(async () => await guest.close());
      return await guest.status();
    });
    await expect(attempt).rejects.toMatchObject({ name: "QmpReplyError" });
    await expect(attempt).rejects.toThrow(words);
  });

  it("is refused where a range ends beyond its block", async () => {
    const fake = await startFakeGuest({
      mtree: () =>
        'FlatView #0\n AS "memory", root: system\n  0000000000000000-00000000ffffffff (prio 0, ram): ram0\n',
    });
    cleanUps.push(fake.stop);
    await expect(QemuGuest.open(fake.path)).rejects.toThrow(
      'a range of "ram0" ends beyond its 16777216 bytes',
    );
  });

  it("is refused where NUMA nodes do not add up to boot RAM", async () => {
    const fake = await startFakeGuest({
      handlers: { "qom-get": () => "", "query-memory-size-summary": () => ({ "base-memory": 4096 }) },
    });
    cleanUps.push(fake.stop);
    await expect(QemuGuest.open(fake.path)).rejects.toThrow(
      "16777216 bytes lie in the map where boot RAM is 4096",
    );
  });
});

function refuse(words: string): () => never {
  return () => {
    throw new Refusal(words);
  };
}

describe("plugDimm", () => {
  it("takes the first free id and tells where the DIMM lies", async () => {
    const added: unknown[] = [];
    const { guest } = await open({
      handlers: {
        "object-add": (args) => (added.push(args), {}),
        device_add: (args) => (added.push(args), {}),
        "qom-list": (args) => [
          { name: args["path"] === "/objects" ? "kdh-mem0-backend" : "kdh-mem1", type: "child<x>" },
        ],
        "query-memory-devices": () => [{ type: "dimm", data: { id: "kdh-mem2", addr: 2n ** 63n } }],
      },
    });
    const dimm = await guest.plugDimm({ size: 1n << 30n, node: 1, shared: { kind: "memfd" } });
    expect(dimm).toEqual({ id: "kdh-mem2", memdev: "kdh-mem2-backend", address: 2n ** 63n, size: 1n << 30n });
    expect(added).toEqual([
      { "qom-type": "memory-backend-memfd", id: "kdh-mem2-backend", size: 1 << 30, share: true },
      { driver: "pc-dimm", id: "kdh-mem2", memdev: "kdh-mem2-backend", node: 1 },
    ]);
  });

  it("takes the backend away again when the DIMM is refused", async () => {
    const { guest, fake } = await open({
      handlers: {
        "object-add": () => ({}),
        "object-del": () => ({}),
        device_add: () => {
          throw new Refusal("no free slots available");
        },
      },
    });
    await expect(guest.plugDimm({ size: 1n << 30n, id: "x" })).rejects.toThrow(
      'Cannot plug DIMM "x" of 1073741824 bytes: QEMU says "no free slots available"',
    );
    expect(fake.log.filter((line) => /object|device_add/.test(line))).toEqual([
      "object-add",
      "device_add",
      "object-del",
    ]);
  });

  it("says what is left behind when that fails too", async () => {
    const { guest } = await open({
      handlers: { "object-add": () => ({}), device_add: refuse("no"), "object-del": refuse("object in use") },
    });
    await expect(guest.plugDimm({ size: 1n << 30n, id: "x" })).rejects.toThrow(
      /says "no"; Backend "x-backend" is left behind: .*object in use/,
    );
  });

  it("does not hang on a guest that is lost in between", async () => {
    const { guest } = await open({
      handlers: { "object-add": () => ({}), device_add: (_args, socket) => (socket.destroy(), SILENCE) },
    });
    await expect(guest.plugDimm({ size: 1n << 30n, id: "x" })).rejects.toMatchObject({
      name: "QmpClosedError",
    });
  });
});

async function writeOne(guest: QemuGuest): Promise<void> {
  await guest.pausedDuring(async () => await guest.memory.write(0x100000n, Uint8Array.of(1)));
}

/** Until it is known whether the guest may be paused: QEMU answers in order. */
async function expectPause(guest: QemuGuest): Promise<void> {
  guest.expectPause();
  await guest.status();
}

describe("a pause that was expected", () => {
  it("asks nothing before it, once", async () => {
    const { guest, fake } = await open();
    // What is known holds for a moment only: here there is none between.
    const now = vi.spyOn(performance, "now").mockReturnValue(performance.now());
    cleanUps.push(async () => now.mockRestore());
    await expectPause(guest);
    const asked = (): readonly string[] =>
      fake.log.splice(0).filter((line) => /^(stop|query-migrate)$/.test(line));
    asked();
    await writeOne(guest);
    expect(asked()).toEqual(["stop", "query-migrate"]);
    await writeOne(guest);
    expect(asked()).toEqual(["query-migrate", "stop", "query-migrate"]);
  });

  it("is no reason to let a guest run that an operator has stopped meanwhile", async () => {
    const { guest, fake } = await open();
    await expectPause(guest);
    Object.assign(fake.state, { status: "paused", running: false });
    await writeOne(guest);
    expect(fake.memory.get(0x100000n)).toBe(1);
    expect(fake.state.running).toBe(false);
    expect(fake.log).not.toContain("cont");
  });

  it("writes nothing where the guest began to be migrated meanwhile, and lets it run", async () => {
    let status = "none";
    const { guest, fake } = await open({ handlers: { "query-migrate": () => ({ status }) } });
    await expectPause(guest);
    status = "active";
    await expect(writeOne(guest)).rejects.toThrow('is being migrated or saved (QEMU says "active")');
    expect(fake.memory.size).toBe(0);
    expect(fake.state.running).toBe(true);
  });

  it("is refused where the guest was being migrated, as any other", async () => {
    const { guest, fake } = await open({ handlers: { "query-migrate": () => ({ status: "active" }) } });
    await expectPause(guest);
    await expect(writeOne(guest)).rejects.toThrow("is being migrated");
    expect(fake.log).not.toContain("stop");
  });
});

describe("a guest whose memory is being moved", () => {
  it.each(["setup", "active", "postcopy-active", "device", "cancelling"])(
    "is neither stopped nor written to (%s)",
    async (status) => {
      const { guest, fake } = await open({ handlers: { "query-migrate": () => ({ status }) } });
      const write = guest.pausedDuring(async () => await guest.memory.write(0x100000n, Uint8Array.of(1)));
      await expect(write).rejects.toMatchObject({
        name: "RunStateError",
        message: expect.stringContaining(`is being migrated or saved (QEMU says "${status}")`),
      });
      expect(fake.log).not.toContain("stop");
      expect(fake.memory.size).toBe(0);
    },
  );

  it.each(["inmigrate", "finish-migrate", "save-vm", "restore-vm"])(
    "is not written to where it stands still for that (%s)",
    async (status) => {
      const { guest, fake } = await open({ status });
      await expect(guest.pausedDuring(async () => 1)).rejects.toThrow(`Guest is in state "${status}"`);
      expect(fake.state.status).toBe(status);
      expect(fake.log).not.toContain("cont");
    },
  );

  it.each([{}, { status: "none" }, { status: "completed" }, { status: "failed" }])(
    "is what it was before, once that is over (%j)",
    async (reply) => {
      const { guest } = await open({ handlers: { "query-migrate": () => reply } });
      expect(await guest.pausedDuring(async () => 1)).toBe(1);
    },
  );
});
