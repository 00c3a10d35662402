/** Hearing of changes: the best way that there is, and what is told of it. Real events: real-uevents.test.ts. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { Received, UeventSource } from "../../../src/targets/local/uevent-socket.ts";
import { netlinkSource, udevadmSource } from "../../../src/targets/local/uevent-sources.ts";
import type { UeventSourceChoice } from "../../../src/targets/local/watch-uevents.ts";
import { Watched } from "./watched.ts";
import { PATIENCE } from "../../patience.ts";

const uevent = (path: string, subsystem: string): Received => ({
  kind: "uevent",
  datagram: Buffer.from(`online@${path}\0ACTION=online\0DEVPATH=${path}\0SUBSYSTEM=${subsystem}\0`),
});
const MEMORY = uevent("/devices/system/memory/memory32", "memory");
const NET = uevent("/devices/virtual/net/tap0", "net");

/** A socket with what the test puts into it. */
class FakeSocket implements UeventSource {
  closed = false;
  readonly #waiting: (Received | Error)[] = [];
  #readable: (() => void) | undefined;

  receive(): Received {
    const next = this.#waiting.shift() ?? { kind: "empty" };
    if (next instanceof Error) throw next;
    return next;
  }

  onReadable(readable: () => void): Disposable {
    this.#readable = readable;
    queueMicrotask(() => this.#tell());
    return { [Symbol.dispose]: () => (this.#readable = undefined) };
  }

  /** They are there at once. @returns when all were read. */
  async put(...received: readonly (Received | Error)[]): Promise<void> {
    this.#waiting.push(...received);
    this.#tell();
    await vi.waitUntil(() => this.closed || this.#waiting.length === 0, { timeout: 15_000, interval: 2 });
  }

  /** Level-triggered, as poll(2). */
  #tell(): void {
    while (this.#waiting.length > 0 && this.#readable && !this.closed) this.#readable();
  }

  [Symbol.dispose](): void {
    this.closed = true;
  }
}

const refusing: UeventSourceChoice = {
  kind: "netlink",
  start: async () => {
    throw new Error("the optional package koffi is not installed");
  },
};

async function byFake(): Promise<{ readonly socket: FakeSocket; readonly watched: Watched }> {
  const socket = new FakeSocket();
  const watched = new Watched([{ kind: "netlink", start: netlinkSource(async () => socket) }]);
  await watched.hears("netlink");
  return { socket, watched };
}

describe("a watch by netlink", () => {
  test("says to look once it listens: nobody heard what came before", async () => {
    const { watched } = await byFake();
    using _ = watched;
    expect(watched.changes).toBe(1);
    expect(watched.watch.sourceInWords).toBe("the kernel's uevents by netlink");
    expect(watched.watch.counters).toEqual({ events: 0, changes: 0, overruns: 0, foreign: 0, malformed: 0 });
  });

  test("says so once for all that came together, and nothing of other devices", async () => {
    const { socket, watched } = await byFake();
    using _ = watched;
    await socket.put(NET, MEMORY, MEMORY, NET, MEMORY);
    expect(watched.changes).toBe(2);
    await socket.put(NET);
    expect(watched.changes).toBe(2);
    expect(watched.watch.counters).toMatchObject({ events: 6, changes: 3 });
  });

  test("reads a storm in pieces, and lets the look that the first one asks for have its turn", async () => {
    const { socket, watched } = await byFake();
    using _ = watched;
    const all = socket.put(...Array.from({ length: 3840 }, () => MEMORY));
    expect(watched.watch.counters.changes).toBe(64);
    expect(watched.changes - 1).toBe(1);
    await new Promise((resolve) => setImmediate(resolve));
    expect(watched.watch.counters.changes).toBe(64);
    await all;
    expect(watched.watch.counters.changes).toBe(3840);
    expect(watched.changes - 1).toBe(60);
  });

  test("is not held up by devices that are nobody's concern", async () => {
    const { socket, watched } = await byFake();
    using _ = watched;
    void socket.put(...Array.from({ length: 600 }, () => NET));
    expect(watched.watch.counters.events).toBe(600);
    expect(watched.changes - 1).toBe(0);
  });

  test("says to look where events were lost or could not be read, and counts both", async () => {
    const { socket, watched } = await byFake();
    using _ = watched;
    await socket.put({ kind: "overrun" });
    await socket.put({ kind: "overrun" });
    await socket.put({ kind: "uevent", datagram: Uint8Array.of(1, 2, 3) });
    expect(watched.changes).toBe(4);
    expect(watched.watch.counters).toMatchObject({ events: 0, overruns: 2, malformed: 1 });
    expect(watched.troubles).toEqual(["Events came faster than they could be read, and some were lost"]);
  });

  test("does not listen to anybody but the kernel", async () => {
    const { socket, watched } = await byFake();
    using _ = watched;
    await socket.put({ kind: "foreign" }, { kind: "foreign" });
    expect(watched.changes).toBe(1);
    expect(watched.watch.counters).toMatchObject({ events: 0, foreign: 2 });
  });

  test("goes on by the next way where the socket fails, and what was read by then counts", async () => {
    const { socket, watched } = await byFake();
    using _ = watched;
    await socket.put(MEMORY, new Error("Cannot receive uevents (recvmsg): EBADF"));
    await watched.hears("timer");
    expect(socket.closed).toBe(true);
    expect(watched.watch.counters.changes).toBe(1);
    expect(watched.troubles).toEqual([
      "Cannot hear of changes by the kernel's uevents by netlink: Cannot receive uevents (recvmsg): EBADF; trying a timer, every 60000 ms",
    ]);
  });

  test("says nothing any more once it was ended, and closes its socket", async () => {
    const { socket, watched } = await byFake();
    watched[Symbol.dispose]();
    expect(socket.closed).toBe(true);
    expect(watched.changes).toBe(1);
  });

  test("that is ended before it has begun closes what it gets", async () => {
    const socket = new FakeSocket();
    const watched = new Watched([{ kind: "netlink", start: netlinkSource(async () => socket) }]);
    watched[Symbol.dispose]();
    await vi.waitFor(() => expect(socket.closed).toBe(true), PATIENCE);
    expect(watched.changes).toBe(0);
    expect(watched.troubles).toEqual([]);
  });
});

describe("a watch without netlink", () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "kdump-hotplug-udevadm-"));
  });
  afterAll(async () => {
    await rm(directory, { recursive: true });
  });

  /** A program in place of udevadm that runs `script`. */
  async function program(script: string): Promise<string> {
    const path = join(directory, `udevadm-${Math.random().toString(36).slice(2)}`);
    await writeFile(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return path;
  }

  const HEADING = `echo "monitor will print the received events for:"; echo "KERNEL - the kernel uevent"; echo`;
  const EVENT = `echo "KERNEL[17.100000] add      /devices/system/memory/memory32 (memory)"`;

  test("listens to a child, given the filter for memory and CPUs", async () => {
    const path = await program(
      `[ "$*" = "monitor --kernel --subsystem-match=memory --subsystem-match=cpu" ] || exit 2\n${HEADING}; read x < ${directory}/go 2>/dev/null; ${EVENT}; exec sleep 60`,
    );
    using watched = new Watched([refusing, { kind: "udevadm", start: udevadmSource(path) }]);
    await watched.hears("udevadm");
    expect(watched.troubles).toEqual([
      "Cannot hear of changes by the kernel's uevents by netlink: the optional package koffi is not installed; trying the kernel's uevents by udevadm monitor",
    ]);
    await vi.waitFor(() => expect(watched.watch.counters).toMatchObject({ events: 1, changes: 1 }), 10_000);
    expect(watched.changes).toBe(2);
  });

  test("looks every so often where there is no such program", async () => {
    using watched = new Watched(
      [refusing, { kind: "udevadm", start: udevadmSource(join(directory, "nothing")) }],
      5,
    );
    await watched.hears("timer");
    expect(watched.watch.sourceInWords).toBe("a timer, every 5 ms");
    expect(watched.troubles[1]).toMatch(
      /by udevadm monitor: .*nothing monitor cannot be started \(spawn .*ENOENT\); trying a timer, every 5 ms$/,
    );
    await vi.waitFor(() => expect(watched.changes).toBeGreaterThan(3), 10_000);
    expect(watched.watch.counters).toMatchObject({ events: 0, changes: 0 });
    watched[Symbol.dispose]();
    const { changes } = watched;
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(watched.changes).toBe(changes);
  });

  test.each([
    ["says why it does not listen", `echo "Running in chroot, ignoring request." >&2; exit 0`],
    ["ends after it has listened", `${HEADING}; sleep 0.2; echo gone >&2; exit 1`],
    ["prints no text", `${HEADING}; sleep 0.2; printf 'KERNEL[\\377\\n'; exec sleep 60`],
  ])("looks every so often where the child %s", async (_, script) => {
    const path = await program(script);
    using watched = new Watched([{ kind: "udevadm", start: udevadmSource(path) }]);
    await watched.hears("timer");
    expect(watched.troubles).toHaveLength(1);
    expect(watched.troubles[0]).toMatch(
      /(ended with status 0: Running in chroot, ignoring request\.|ended with status 1: gone|cannot be understood \(Line of 8 bytes is not UTF-8\)); trying a timer/,
    );
  });

  test("leaves no child behind", async () => {
    const path = await program(`echo $$ > ${directory}/pid; ${HEADING}; exec sleep 60`);
    const watched = new Watched([{ kind: "udevadm", start: udevadmSource(path) }]);
    await watched.hears("udevadm");
    const pid = Number(await readFile(join(directory, "pid"), "utf8"));
    process.kill(pid, 0);
    watched[Symbol.dispose]();
    await vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow("ESRCH"), 10_000);
    expect(watched.troubles).toEqual([]);
  });
});
