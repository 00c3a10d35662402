import { once } from "node:events";
import { existsSync } from "node:fs";
import { afterEach, describe, expect, it, vi } from "vitest";

import { watchDevices } from "../../../src/targets/qemu/watch-devices.ts";
import { QemuGuest } from "../../../src/targets/qemu/guest.ts";
import { QmpClosedError, QmpTimeoutError } from "../../../src/targets/qemu/qmp-errors.ts";
import type { QmpEvent } from "../../../src/targets/qemu/qmp-message.ts";
import { LibvirtSession } from "../../../src/targets/libvirt/session.ts";
import { eventLine, Refusal } from "../qemu/fake-qmp.ts";
import { type FakeLibvirt, type FakeLibvirtOptions, startFakeLibvirt, UUID } from "./fake-libvirt.ts";
import { failure } from "../failure.ts";
import { PATIENCE } from "../../patience.ts";

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

async function fakeOf(options: FakeLibvirtOptions = {}): Promise<FakeLibvirt> {
  const fake = await startFakeLibvirt(options);
  cleanUps.push(fake.stop);
  return fake;
}

async function open(
  options: FakeLibvirtOptions = {},
): Promise<{ readonly session: LibvirtSession; readonly fake: FakeLibvirt }> {
  const fake = await fakeOf(options);
  const session = await LibvirtSession.open(options.name ?? "guest", { env: fake.env });
  cleanUps.push(async () => await session.close());
  return { session, fake };
}

const isGone = (pid: number): boolean => !existsSync(`/proc/${pid}`);

describe("a session through virsh", () => {
  it("finds a domain by name or UUID, and speaks to it by its number", async () => {
    const { session, fake } = await open();
    expect(session.domain).toEqual({
      name: "guest",
      uuid: UUID,
      id: "7",
      stateDirectory: "/run/libvirt/qemu",
    });
    await using byUuid = await LibvirtSession.open(UUID, { env: fake.env });
    expect(byUuid.domain).toEqual(session.domain);
    await session.execute("query-status");
    expect(fake.calls.at(-1)).toEqual([
      "qemu-monitor-command",
      "7",
      '{"execute":"query-status","arguments":{}}',
    ]);
  });

  it("keeps 64-bit integers exact in both directions", async () => {
    const seen: unknown[] = [];
    const echo = (args: Readonly<Record<string, unknown>>): unknown => (
      seen.push(args["value"]),
      args["value"]
    );
    const { session } = await open({ guest: { handlers: { echo } } });
    for (const value of [0xffff_ffff_ffff_ffffn, 9007199254740993n, 7])
      expect(await session.execute("echo", { value })).toBe(value);
    expect(seen).toEqual([0xffff_ffff_ffff_ffffn, 9007199254740993n, 7]);
  });

  it("brings any text through virsh's quotes and readline unchanged", async () => {
    const { session } = await open({ guest: { handlers: { echo: (args) => args["value"] } } });
    const texts = [
      `it's "quoted" \\ and; $more | \`less\``,
      "tab\tnewline\nend\u0000\u001b[A",
      "Größe 日本 🙂",
      "x".repeat(5000),
    ];
    for (const value of texts) expect(await session.execute("echo", { value })).toBe(value);
  });

  it("opens a domain whose name has blanks and quotes", async () => {
    const { session, fake } = await open({ name: "it's 'a' guest: {1}" });
    const seen: string[] = [];
    session.onEvent(({ event }) => seen.push(event));
    await session.execute("stop");
    await vi.waitUntil(() => seen.length > 0, PATIENCE);
    expect(seen).toEqual(["STOP"]);
    expect(fake.guest.state.running).toBe(false);
  });

  it("tells QEMU's refusal with class and desc, and libvirt's own with its words", async () => {
    const { session } = await open({
      guest: {
        handlers: {
          no: () => {
            throw new Refusal("No such thing");
          },
        },
      },
      answer: (words) =>
        words[0] === "suspend" ? { error: "Requested operation is not valid: why not" } : undefined,
    });
    expect(await failure(session.execute("no"))).toMatchObject({
      name: "QmpCommandError",
      class: "GenericError",
      desc: "No such thing",
      message: 'QEMU refused "no": No such thing (GenericError)',
    });
    const error = await failure(session.execute("stop"));
    expect(error).toMatchObject({ name: "LibvirtCommandError" });
    expect(error.message).toBe('libvirt refused "stop": Requested operation is not valid: why not');
    expect(error.stack).toContain("session.test.ts");
    // The session goes on, and the failure is not the next command's.
    expect(await session.execute("query-status")).toEqual({ status: "running", running: true });
  });

  it("runs commands in order, also when they are given at once and some fail", async () => {
    const { session, fake } = await open();
    const results = await Promise.allSettled(
      Array.from(
        { length: 20 },
        async (_, i) => await session.execute(i % 3 === 0 ? "query-status" : `no-${i}`),
      ),
    );
    expect(results.map(({ status }) => status)).toEqual(
      Array.from({ length: 20 }, (_, i) => (i % 3 === 0 ? "fulfilled" : "rejected")),
    );
    expect(fake.guest.log.slice(-20)).toEqual(
      Array.from({ length: 20 }, (_, i) => (i % 3 === 0 ? "query-status" : `no-${i}`)),
    );
  });

  it("stops and starts the guest by libvirt's own commands", async () => {
    const { session, fake } = await open();
    await session.execute("stop");
    expect(fake.guest.state.running).toBe(false);
    await session.execute("cont");
    expect(fake.guest.state.running).toBe(true);
    expect(fake.calls.slice(-2)).toEqual([
      ["suspend", "7"],
      ["resume", "7"],
    ]);
  });

  it("leaves no process behind", async () => {
    const { session, fake } = await open();
    const pids = fake.virshes.map(({ pid }) => pid);
    expect(pids).toHaveLength(3);
    await Promise.all([session.close(), session.close()]);
    expect(pids.filter((pid) => !isGone(pid))).toEqual([]);
    expect((await failure(session.execute("query-status"))).message).toContain('"query-status" was not sent');
    expect(await session.closed).toBeInstanceOf(QmpClosedError);
  });
});

describe("events", () => {
  it("come with QEMU's own time and data", async () => {
    const data = {
      info: { source: 1, status: 0, "slot-type": "DIMM", slot: "0" },
      big: 0xffff_ffff_ffff_ffffn,
    };
    const { session, fake } = await open({
      guest: { handlers: { go: (_args, socket) => (socket.write(eventLineWith("X", data, 42)), {}) } },
    });
    const seen: QmpEvent[] = [];
    session.onEvent((event) => seen.push(event));
    await session.execute("go");
    await vi.waitUntil(() => seen.length > 0, PATIENCE);
    expect(seen).toEqual([{ event: "X", data, timestamp: { seconds: 100, microseconds: 42 } }]);
    expect(fake.virshes).toHaveLength(3);
  });

  it("are put together again when they come byte by byte, in the middle of a character too", async () => {
    const name = "Gäst";
    const { session, fake } = await open({ name });
    const seen: QmpEvent[] = [];
    session.onEvent((event) => seen.push(event));
    const reader = fake.virshes.find(({ args }) => args.some((word) => word.includes("qemu-monitor-event")))!;
    const text = `event A at 1.000002 for domain '${name}': <null>\nevent B at 3.999999 for domain '${name}': {"x":"é"}\n`;
    for (const byte of Buffer.from(text)) {
      reader.printBytes(Uint8Array.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await vi.waitUntil(() => seen.length === 2, PATIENCE);
    expect(seen).toEqual([
      { event: "A", data: {}, timestamp: { seconds: 1, microseconds: 2 } },
      { event: "B", data: { x: "é" }, timestamp: { seconds: 3, microseconds: 999999 } },
    ]);
  });

  it("tell of a device that libvirt has added, of which QEMU says nothing", async () => {
    const { session, fake } = await open();
    const guest = await QemuGuest.over(session);
    cleanUps.push(async () => await guest.close());
    let changes = 0;
    using _ = watchDevices(guest, () => changes++, {
      atLeastMs: () => 0,
      isBusy: () => false,
      isPaused: () => false,
    });
    const reader = fake.virshes.find(({ args }) => args.some((word) => word.includes("device-added")))!;
    reader.print("event 'device-added' for domain 'guest': dimm0\n");
    await vi.waitUntil(() => changes > 0, PATIENCE);
    expect(changes).toBe(1);
  });

  it("end the session where they cannot be read", async () => {
    const { session, fake } = await open();
    const reader = fake.virshes.find(({ args }) => args.some((word) => word.includes("qemu-monitor-event")))!;
    reader.print("event A at noon for domain 'guest': <null>\n");
    expect((await session.closed).message).toContain('virsh printed "event A at noon');
    expect(session.isOpen).toBe(false);
  });
});

describe("a guest that stands still", () => {
  it("is measured by QEMU's clock, and runs again", async () => {
    const { session, fake } = await open();
    const guest = await QemuGuest.over(session);
    cleanUps.push(async () => await guest.close());
    const value = await guest.pausedDuring(async () => {
      expect(fake.guest.state.running).toBe(false);
      return 5;
    });
    expect(value).toBe(5);
    expect(guest.lastPauseMicroseconds).toBe(250);
    expect(fake.guest.state.running).toBe(true);
  });

  it("is not written to where somebody else lets it run, whenever that is", async () => {
    const { session, fake } = await open();
    const guest = await QemuGuest.over(session, { tmpDir: fake.directory });
    cleanUps.push(async () => await guest.close());
    const pause = guest.pausedDuring(async () => {
      fake.guest.resume();
      await guest.memory.write(0x100000n, Uint8Array.of(1));
    });
    await expect(pause).rejects.toMatchObject({ kind: "changed" });
    expect(fake.guest.memory.get(0x100000n)).toBeUndefined();
    expect(fake.guest.state.running).toBe(true);
  });

  it.each(["--quiet", "qemu-monitor-event", "device-added"])(
    "runs again when a virsh (%s) is killed",
    async (which) => {
      const { session, fake } = await open();
      const guest = await QemuGuest.over(session);
      const victim = fake.virshes.find(({ args }) => args.at(-1)!.includes(which))!;
      const pause = guest.pausedDuring(async () => {
        process.kill(victim.pid, "SIGKILL");
        await session.closed;
        expect(fake.guest.state.running).toBe(false);
      });
      expect(await failure(pause)).toMatchObject({ machineLost: true });
      expect(fake.guest.state.running).toBe(true);
      expect(fake.calls.at(-1)).toEqual(["resume", "7"]);
      await guest.close();
    },
  );

  it("runs again when virsh is killed as it stops the guest", async () => {
    const { session, fake } = await open({
      answer: ([command], virsh) => {
        if (command === "suspend") process.kill(virsh.pid, "SIGKILL");
        return undefined;
      },
    });
    const guest = await QemuGuest.over(session);
    let worked = false;
    const pause = guest.pausedDuring(async () => void (worked = true));
    expect(await failure(pause)).toMatchObject({ machineLost: true });
    expect(worked).toBe(false);
    expect(fake.guest.log.slice(-2)).toEqual(["stop", "cont"]);
    expect(fake.guest.state.running).toBe(true);
    await guest.close();
  });

  it("runs again where libvirt was away for a while", async () => {
    let away = false;
    let refused = 0;
    const { session, fake } = await open({
      answer: () => {
        if (!away) return undefined;
        if (refused++ === 0) setTimeout(() => (away = false), 700);
        return { error: "Failed to connect socket to '/run/libvirt/libvirt-sock': Connection refused" };
      },
    });
    const guest = await QemuGuest.over(session);
    const pause = guest.pausedDuring(async () => void (away = true));
    expect((await failure(pause)).message).toContain("libvirt has gone away");
    expect(fake.guest.state.running).toBe(true);
    await guest.close();
  });

  it("is not waited for once its domain has ended", async () => {
    const { session, fake } = await open();
    const guest = await QemuGuest.over(session);
    const started = performance.now();
    const pause = guest.pausedDuring(async () => fake.shutDown());
    expect((await failure(pause)).message).toMatch(
      /^Domain "guest" has ended \(virsh says: failed to get domain '7'\)/,
    );
    expect(performance.now() - started).toBeLessThan(5000);
    await guest.close();
  });
});

describe("a libvirt that does not answer", () => {
  it("does what it was told when it goes on, whoever has gone by then", async () => {
    const going = new AbortController();
    const hang = once(going.signal, "abort").then(() => undefined);
    const { session, fake } = await open({
      answer: (words) => (words[0] === "suspend" ? hang : undefined),
    });
    const [commands] = fake.virshes;
    expect(await failure(session.execute("stop", {}, { timeoutMs: 100 }))).toBeInstanceOf(QmpTimeoutError);
    expect(await failure(session.execute("cont", {}, { timeoutMs: 100 }))).toBeInstanceOf(QmpTimeoutError);
    session.leave();
    expect((await session.closed).message).toContain("which does not answer");
    await session.close();
    expect(isGone(commands!.pid)).toBe(false);
    going.abort();
    await vi.waitUntil(() => isGone(commands!.pid), { timeout: 10_000 });
    expect(fake.calls.slice(-2)).toEqual([
      ["suspend", "7"],
      ["resume", "7"],
    ]);
    expect(fake.guest.log.slice(-2)).toEqual(["stop", "cont"]);
    expect(fake.guest.state.running).toBe(true);
  });

  it("is told by every wait within its limit", async () => {
    const { session } = await open({
      answer: (words) => (words.includes("7") && words[0] === "suspend" ? "silence" : undefined),
    });
    const error = await failure(session.execute("stop", {}, { timeoutMs: 100 }));
    expect(error).toBeInstanceOf(QmpTimeoutError);
    expect(error.message).toBe(
      'libvirt did not answer "suspend 7" within 100 ms: it or its guest hangs, or is very busy',
    );
    expect(await failure(session.execute("query-status", {}, { timeoutMs: 100 }))).toBeInstanceOf(
      QmpTimeoutError,
    );
    expect(await failure(session.waitForEvent("STOP", { timeoutMs: 50 }))).toBeInstanceOf(QmpTimeoutError);
  });
});

function eventLineWith(event: string, data: unknown, microseconds: number): string {
  const plain = eventLine(event, microseconds);
  return plain.replace('"data":{}', `"data":${toJson(data)}`);
}

const toJson = (value: unknown): string =>
  JSON.stringify(value, (_key, each: unknown) => (typeof each === "bigint" ? `#${each}#` : each)).replaceAll(
    /"#(\d+)#"/g,
    "$1",
  );
