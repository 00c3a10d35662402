/** Guest memory on a real QEMU that runs nothing but its firmware, or not even that: no kernel is needed. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { MemoryAccessError } from "../../src/image/memory.ts";
import { GdbRemote } from "../../src/targets/qemu/gdb-remote.ts";
import { QemuGuest, type QemuGuestOptions } from "../../src/targets/qemu/guest.ts";
import { QmpClient } from "../../src/targets/qemu/qmp.ts";

const QEMU = "qemu-system-x86_64";
const haveQemu = spawnSync(QEMU, ["--version"]).status === 0;
if (!haveQemu) console.error(`test/real/qemu-memory.test.ts does not run: ${QEMU} is not installed`);

const MIB = 1n << 20n;
const AT = 32n * MIB;

let directory = "";
let children: ChildProcess[] = [];
let guests: QemuGuest[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdh-real-"));
});

afterEach(async () => {
  for (const guest of guests) await guest.close();
  for (const child of children) {
    if (child.exitCode === null && child.signalCode === null && child.kill("SIGKILL"))
      await once(child, "exit");
  }
  guests = [];
  children = [];
  await rm(directory, { recursive: true, force: true });
});

/** Starts QEMU with 256 MiB and returns its QMP socket once it is there. */
async function startQemu(...args: readonly string[]): Promise<string> {
  const path = join(directory, "qmp.sock");
  const fixed = [
    "-nographic",
    "-nodefaults",
    "-m",
    "256M,slots=4,maxmem=4G",
    "-qmp",
    `unix:${path},server=on,wait=off`,
  ];
  const child = spawn(QEMU, [...fixed, ...args], { stdio: ["ignore", "ignore", "pipe"] });
  children.push(child);
  let said = "";
  child.stderr?.on("data", (bytes: Buffer) => {
    said += bytes.toString();
  });
  for (let waited = 0; waited < 10_000; waited += 20) {
    if (child.exitCode !== null) throw new Error(`QEMU ended at once: ${said}`);
    if ((await stat(path).catch(() => undefined))?.isSocket() === true) return path;
    await sleep(20);
  }
  throw new Error(`QEMU made no socket within 10 s: ${said}`);
}

async function open(path: string, options: QemuGuestOptions = {}): Promise<QemuGuest> {
  const guest = await QemuGuest.open(path, { tmpDir: directory, ...options });
  guests.push(guest);
  return guest;
}

/** What QEMU itself sees at an address: a second opinion. */
async function examined(guest: QemuGuest, address: bigint): Promise<unknown> {
  const line = `xp /4xb 0x${address.toString(16)}`;
  return await guest.qmp.execute("human-monitor-command", { "command-line": line });
}

const FILE = (path: string): string[] => [
  "-M",
  "q35,memory-backend=ram0",
  "-object",
  `memory-backend-file,id=ram0,size=256M,mem-path=${path},share=on`,
];
const MEMFD = ["-M", "q35,memory-backend=ram0", "-object", "memory-backend-memfd,id=ram0,size=256M"];
const PRIVATE = ["-M", "pc"];
/** As where QEMU's own memory may not be opened: by its monitor and its gdbstub. */
const THROUGH_QEMU: QemuGuestOptions = { access: "gdb" };

describe.skipIf(!haveQemu)("guest memory on a real QEMU", () => {
  it.each([
    ["a shared file", () => FILE(join(directory, "ram")), "auto", "shared-file"],
    ["a memfd", () => MEMFD, "auto", "shared-file"],
    ["private RAM", () => PRIVATE, "auto", "process-memory"],
    ["private RAM", () => PRIVATE, "gdb", "gdbstub"],
  ] as const)(
    "reads and writes %s of a running guest, which still runs afterwards",
    async (_name, args, allowed, access) => {
      const guest = await open(await startQemu(...args()), { access: allowed });
      expect.soft(guest.memory.access, guest.memory.whyNotDirect).toBe(access);
      const bytes = Uint8Array.from({ length: 10_000 }, (_, at) => (at * 31) % 251);
      await guest.memory.write(AT - 1n, bytes);
      expect(await guest.memory.read(AT - 1n, bytes.length)).toEqual(bytes);
      const large = await guest.memory.read(AT - MIB, Number(2n * MIB));
      expect(large.subarray(Number(MIB) - 1, Number(MIB) - 1 + bytes.length)).toEqual(bytes);
      expect(await examined(guest, AT)).toContain("0x1f 0x3e 0x5d 0x7c");
      expect(await guest.status()).toBe("running");
      await expect(guest.memory.read(0xfee00000n, 4)).rejects.toBeInstanceOf(MemoryAccessError);
      // Where the last range begins depends on how far the firmware has come with the PAM registers.
      expect((await guest.memory.ranges()).at(-1)?.end).toBe(256n * MIB);
      // Neither a socket nor a copy of memory stays behind.
      expect((await readdir(directory)).filter((name) => name !== "qmp.sock" && name !== "ram")).toEqual([]);
    },
  );

  it.each(["prelaunch", "paused"])(
    "leaves a guest with private RAM %s through writes and pauses",
    async (state) => {
      const guest = await open(await startQemu(...PRIVATE, "-S"), THROUGH_QEMU);
      if (state === "paused") {
        await guest.qmp.execute("cont");
        await guest.qmp.execute("stop");
      }
      const seen: string[] = [];
      guest.qmp.onEvent(({ event }) => seen.push(event));
      await guest.memory.write(AT, Uint8Array.of(1, 2, 3, 4));
      expect(await guest.status()).toBe(state);
      await guest.pausedDuring(async () => {
        await guest.memory.write(AT, Uint8Array.of(5));
        await guest.memory.write(AT + MIB, Uint8Array.of(6));
      });
      expect(await guest.status()).toBe(state);
      expect(seen).toEqual([]);
      expect(await guest.memory.read(AT, 4)).toEqual(Uint8Array.of(5, 2, 3, 4));
    },
  );

  it("works in a directory whose name QEMU could take apart", async () => {
    const tmpDir = join(directory, 'a b,c"d');
    await mkdir(tmpDir);
    const guest = await open(await startQemu(...PRIVATE), { tmpDir, ...THROUGH_QEMU });
    await guest.memory.write(AT, Uint8Array.of(1, 2, 3, 4));
    expect((await guest.memory.read(AT, 8192)).subarray(0, 4)).toEqual(Uint8Array.of(1, 2, 3, 4));
    expect(await readdir(tmpDir)).toEqual([]);
  });

  it("measures a pause, and ends it when the work in it fails", async () => {
    const guest = await open(await startQemu(...PRIVATE), THROUGH_QEMU);
    await expect(guest.pausedDuring(async () => await Promise.reject(new Error("Mistake")))).rejects.toThrow(
      "Mistake",
    );
    expect(await guest.status()).toBe("running");
    await guest.pausedDuring(async () => await guest.memory.write(AT, Uint8Array.of(5)));
    expect(guest.lastPauseMicroseconds).toBeGreaterThan(0);
    expect(guest.lastPauseMicroseconds).toBeLessThan(1_000_000);
    expect(await guest.status()).toBe("running");
  });

  it("reads and writes several packets in a pause, and leaves addresses virtual", async () => {
    const guest = await open(await startQemu(...PRIVATE), THROUGH_QEMU);
    const bytes = Uint8Array.from({ length: 10_000 }, (_, at) => (at * 31) % 251);
    await guest.pausedDuring(async () => {
      await guest.memory.write(AT, bytes);
      const [all, tail] = await Promise.all([
        guest.memory.read(AT, bytes.length),
        guest.memory.read(AT + 9000n, 1000),
      ]);
      expect(all).toEqual(bytes);
      expect(tail).toEqual(bytes.slice(9000));
    });
    expect(await guest.status()).toBe("running");
    const path = join(directory, "gdb.sock");
    const monitor = async (line: string): Promise<unknown> =>
      await guest.qmp.execute("human-monitor-command", { "command-line": line });
    await monitor(`gdbserver unix:${path},server=on,wait=off`);
    const gdb = await GdbRemote.connect({ path });
    expect(await gdb.request("qqemu.PhyMemMode")).toBe("0");
    await gdb.detach();
    gdb.close();
    await monitor("gdbserver none");
  });

  it("tells apart the memfds of twin DIMMs that are all zeros, and reaches a private one", async () => {
    const guest = await open(await startQemu(...MEMFD, "-S"));
    const size = 128n * MIB;
    const first = await guest.plugDimm({ size, shared: { kind: "memfd" } });
    const second = await guest.plugDimm({ size, shared: { kind: "memfd" } });
    const file = await guest.plugDimm({ size, shared: { kind: "file", path: join(directory, "dimm") } });
    const last = await guest.plugDimm({ size });
    expect([second, file, last].map((dimm) => dimm.address - first.address)).toEqual([
      size,
      2n * size,
      3n * size,
    ]);
    expect([first, last].map((dimm) => dimm.id)).toEqual(["kdh-mem0", "kdh-mem3"]);
    for (const [index, dimm] of [first, second, file, last].entries()) {
      await guest.memory.write(dimm.address, Uint8Array.of(0xd0 + index, 0, 0, 7));
      expect(await examined(guest, dimm.address)).toContain(`0xd${index} 0x00 0x00 0x07`);
    }
    expect(guest.memory.whyNotDirect).toBe("kdh-mem3-backend: its memory backend has share=off");
    // One write over the border of a shared and a private DIMM.
    await guest.memory.write(last.address - 2n, Uint8Array.of(1, 2, 3, 4));
    expect(await guest.memory.read(last.address - 2n, 4)).toEqual(Uint8Array.of(1, 2, 3, 4));
    await expect(guest.plugDimm({ size })).rejects.toThrow("no free slots available");
    expect(await guest.qmp.execute<unknown[]>("query-memdev")).toHaveLength(5);
  });

  it("names a socket that another client holds busy, within 2 s", async () => {
    const path = await startQemu(...PRIVATE, "-S");
    await open(path);
    const started = performance.now();
    await expect(QmpClient.connect(path)).rejects.toMatchObject({ kind: "busy" });
    expect(performance.now() - started).toBeLessThan(2000);
  });

  it("tells that QEMU was lost", async () => {
    const guest = await open(await startQemu(...PRIVATE, "-S"), THROUGH_QEMU);
    const lost = guest.qmp.waitForEvent("RESUME");
    children[0]?.kill("SIGKILL");
    await expect(lost).rejects.toMatchObject({ name: "QmpClosedError" });
    await expect(guest.memory.write(AT, Uint8Array.of(1))).rejects.toMatchObject({ name: "QmpClosedError" });
  });
});
