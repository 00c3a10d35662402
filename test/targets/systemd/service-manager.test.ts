import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { NoSystemCallsError } from "../../../src/targets/local/system-calls.ts";
import { NotifyError, type RunNotify, socketAddress } from "../../../src/targets/systemd/notify-channel.ts";
import {
  openServiceManager,
  type ServiceManagerOptions,
  startWatchdog,
} from "../../../src/targets/systemd/service-manager.ts";
import { noCalls } from "../local/this-kernel.ts";
import { DatagramSocket } from "./datagram-socket.ts";
import { PATIENCE } from "../../patience.ts";

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "kdh-notify-"));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const reason = await noCalls();
const withoutKoffi: Pick<ServiceManagerOptions, "loadCalls"> = {
  loadCalls: async () => await Promise.reject(new NoSystemCallsError("koffi is not there")),
};

describe.skipIf(reason)(`a service manager that listens${reason ? ` (skipped: ${reason})` : ""}`, () => {
  test.each([
    ["a path", () => join(directory, "notify")],
    ["an abstract name", () => `@kdh-notify-${process.pid}`],
  ])("on %s is told of everything, in order", async (_, name) => {
    using socket = await DatagramSocket.open(name());
    using manager = await openServiceManager({
      env: { NOTIFY_SOCKET: socket.name },
      monotonicMicroseconds: () => 1_234_567n,
    });
    expect(manager.isThere).toBe(true);
    await Promise.all([
      manager.ready("4 guests"),
      manager.alive(),
      manager.status("5 guests,\nREADY=1\u2028 forged"),
      manager.reloading(),
      manager.stopping("asked to"),
    ]);
    const heard = [];
    for (let i = 0; i < 5; i++) heard.push(await socket.next());
    expect(heard).toEqual([
      "READY=1\nSTATUS=4 guests",
      "WATCHDOG=1",
      "STATUS=5 guests, READY=1 forged",
      "RELOADING=1\nMONOTONIC_USEC=1234567",
      "STOPPING=1\nSTATUS=asked to",
    ]);
    expect(socket.receive()).toBeUndefined();
  });

  test("gets the time of its own clock", async () => {
    using socket = await DatagramSocket.open(join(directory, "clock"));
    using manager = await openServiceManager({ env: { NOTIFY_SOCKET: socket.name } });
    await manager.reloading();
    const [, told] = /MONOTONIC_USEC=(\d+)$/.exec(await socket.next())!;
    const seconds = Number(told) / 1e6;
    expect(Math.abs(seconds - Number(process.hrtime.bigint()) / 1e9)).toBeLessThan(20);
  });

  test("is told by systemd-notify where there is no koffi", async ({ skip }) => {
    try {
      execFileSync("systemd-notify", ["--version"], { stdio: "ignore" });
    } catch {
      skip("systemd-notify is not installed");
    }
    using socket = await DatagramSocket.open(join(directory, "program"));
    using manager = await openServiceManager({ env: { NOTIFY_SOCKET: socket.name }, ...withoutKoffi });
    // Until the manager has read what comes behind it (BARRIER=1), the program waits.
    const heard = async (telling: Promise<void>): Promise<readonly string[]> => {
      const messages = [await socket.next(), await socket.next()];
      await telling;
      return messages.map((message) => message.trim());
    };
    expect(await heard(manager.ready("1 guest, and an = sign"))).toEqual([
      "READY=1\nSTATUS=1 guest, and an = sign",
      "BARRIER=1",
    ]);
    expect(await heard(manager.alive())).toEqual(["WATCHDOG=1", "BARRIER=1"]);
  });

  test("that does not read is not waited for, and the error says so", { timeout: 30_000 }, async () => {
    using socket = await DatagramSocket.open(join(directory, "full"));
    using manager = await openServiceManager({ env: { NOTIFY_SOCKET: socket.name } });
    const flood = async (): Promise<void> => {
      for (let i = 0; i < 10_000; i++) await manager.alive();
    };
    await expect(flood()).rejects.toThrow(/EAGAIN, it has not read its messages for 1 s/);
    // It can be told again once it reads.
    while (socket.receive() !== undefined);
    await manager.ready("again");
    expect(await socket.next()).toBe("READY=1\nSTATUS=again");
  });

  test("that is gone is an error that names it", async () => {
    const name = join(directory, "gone");
    using manager = await openServiceManager({ env: { NOTIFY_SOCKET: name } });
    await expect(manager.ready("x")).rejects.toThrow(`Cannot tell the service manager at "${name}": ENOENT`);
  });
});

describe("without a service manager", () => {
  test("nothing is told, and nothing fails", async () => {
    using manager = await openServiceManager({ env: {} });
    expect([manager.isThere, manager.watchdogEveryMs]).toEqual([false, undefined]);
    await manager.ready("x");
    await manager.stopping("x");
  });

  test.each(["relative", "@", `/${"x".repeat(200)}`, "/a\0b"])("%j is no socket's name", async (name) => {
    await expect(openServiceManager({ env: { NOTIFY_SOCKET: name } })).rejects.toThrow(NotifyError);
    expect(() => socketAddress(name)).toThrow("NOTIFY_SOCKET is");
  });
});

test("programs that the keeper starts do not inherit the manager's variables", async () => {
  const env = { NOTIFY_SOCKET: "/run/x", WATCHDOG_USEC: "10000000", WATCHDOG_PID: "7", PATH: "/bin" };
  using manager = await openServiceManager({ env, pid: 7, ...withoutKoffi });
  expect(env).toEqual({ PATH: "/bin" });
  expect(manager.watchdogEveryMs).toBe(5000);
});

test.each([
  [{ WATCHDOG_USEC: "3000000" }, 1500],
  [{ WATCHDOG_USEC: "3000000", WATCHDOG_PID: "8" }, undefined],
  [{ WATCHDOG_USEC: "none" }, undefined],
  [{ WATCHDOG_USEC: "0" }, undefined],
  [{}, undefined],
])("with %j it wants to hear every %s ms", async (variables, ms) => {
  using manager = await openServiceManager({
    env: { NOTIFY_SOCKET: "/run/x", ...variables },
    pid: 7,
    ...withoutKoffi,
  });
  expect(manager.watchdogEveryMs).toBe(ms);
});

const noProgram: RunNotify = async () => await Promise.reject(new Error("spawn systemd-notify ENOENT"));

test("without koffi and without systemd-notify the error names both", async () => {
  using manager = await openServiceManager({
    env: { NOTIFY_SOCKET: "/run/x" },
    run: noProgram,
    ...withoutKoffi,
  });
  await expect(manager.ready("x")).rejects.toThrow(
    'Cannot tell the service manager at "/run/x": neither by system calls (koffi is not there) nor by systemd-notify (spawn systemd-notify ENOENT)',
  );
});

describe("the watchdog", () => {
  test("is fed for as long as the loop turns, and not after; each trouble is said once", async () => {
    let why: string | undefined;
    let beats = 0;
    const troubles: string[] = [];
    const manager = { watchdogEveryMs: 5, alive: async () => await Promise.resolve(void beats++) };
    using _ = startWatchdog(
      manager,
      () => why,
      (text) => troubles.push(text),
    );
    await vi.waitUntil(() => beats >= 3, PATIENCE);
    why = "the main loop has not turned for 12 s";
    await vi.waitUntil(() => troubles.length > 0, PATIENCE);
    const before = beats;
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(beats).toBe(before);
    expect(troubles).toEqual([
      "The service manager is no longer told that the keeper is alive: the main loop has not turned for 12 s",
    ]);
    why = undefined;
    await vi.waitUntil(() => beats > before, PATIENCE);
  });

  test("says once that nobody hears it", async () => {
    let tries = 0;
    const troubles: string[] = [];
    const alive = async (): Promise<void> => {
      tries++;
      await Promise.reject(new NotifyError("Cannot tell"));
    };
    using _ = startWatchdog(
      { watchdogEveryMs: 2, alive },
      () => undefined,
      (text) => troubles.push(text),
    );
    await vi.waitUntil(() => tries >= 5, PATIENCE);
    expect(troubles).toEqual(["Cannot tell"]);
  });

  test("does nothing where nobody asks", () => {
    const alive = vi.fn<() => Promise<void>>();
    using _ = startWatchdog(
      { watchdogEveryMs: undefined, alive },
      () => undefined,
      () => undefined,
    );
    expect(alive).not.toHaveBeenCalled();
  });
});
