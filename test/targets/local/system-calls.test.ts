/** System calls through koffi, and what is said where they cannot be made. */
import { describe, expect, test } from "vitest";
import { errnoName, SystemCallError } from "../../../src/targets/local/errno.ts";
import { call, loadSystemCalls, NoSystemCallsError } from "../../../src/targets/local/system-calls.ts";
import { noCalls } from "./this-kernel.ts";

const X64 = { platform: "linux", arch: "x64" };
const fn = (): number => 0;

async function missing(): Promise<never> {
  throw new Error("Cannot find package 'koffi' imported from /x.js\nmore");
}

describe("where system calls cannot be made", () => {
  test("koffi is missing: the error names it and says what to do", async () => {
    const loading = loadSystemCalls(missing, X64);
    await expect(loading).rejects.toThrow(NoSystemCallsError);
    await expect(loading).rejects.toThrow(
      "Cannot make system calls: the optional package koffi is not installed or does not load (Cannot find package 'koffi' imported from /x.js): install it with npm, beside this program",
    );
  });

  test.each([
    ["nothing at all", undefined],
    ["no function to load with", { errno: fn, address: fn, node: { poll: fn } }],
    ["no poll", { load: fn, errno: fn, address: fn, node: {} }],
  ])("koffi is another one: it has %s", async (_, module) => {
    await expect(loadSystemCalls(async () => module, X64)).rejects.toThrow(
      "has not all of load, errno, address and node.poll, which version 3.3 has",
    );
  });

  test.each([
    ["linux", "arm64"],
    ["darwin", "x64"],
  ])("%s on %s has other numbers, and koffi is not even loaded", async (platform, arch) => {
    await expect(loadSystemCalls(missing, { platform, arch })).rejects.toThrow(
      `this is ${platform} on ${arch}, and only the calls of Linux on x86-64 (x64) are known`,
    );
  });
});

describe("errno", () => {
  test("has the kernel's names, those that Node does not know as well", () => {
    expect([1, 8, 11, 16, 99, 105, 129, 4095].map(errnoName)).toEqual([
      "EPERM",
      "ENOEXEC",
      "EAGAIN",
      "EBUSY",
      "EADDRNOTAVAIL",
      "ENOBUFS",
      "EKEYREJECTED",
      "errno 4095",
    ]);
  });

  test("is in an error as number and as name, with words where there are some", () => {
    const error = new SystemCallError("lock memory (mlock)", 12, "too much");
    expect(error).toMatchObject({ errno: 12, code: "ENOMEM" });
    expect(error.message).toBe("Cannot lock memory (mlock): ENOMEM, too much");
    expect(new SystemCallError("close it", 9).message).toBe("Cannot close it: EBADF");
  });
});

const reason = await noCalls();

describe.skipIf(reason)(`system calls of this machine${reason ? ` (skipped: ${reason})` : ""}`, () => {
  test("answer with errno, and it becomes an error with its name", async () => {
    const calls = await loadSystemCalls();
    expect(calls.invoke("close", -1)).toMatchObject({ value: -1n, errno: 9 });
    expect(() => call(calls, "close it", "close", -1)).toThrow("Cannot close it (close): EBADF");
  });

  test("take and give 64 bits, and tell how long they took", async () => {
    const calls = await loadSystemCalls();
    const mapped = calls.invoke("mmap", 0, 8192, 3, 0x22, -1, 0);
    expect(mapped.errno).toBe(0);
    expect(mapped.value % 4096n).toBe(0n);
    expect(mapped.milliseconds).toBeGreaterThanOrEqual(0);
    // Half of the address would not do.
    expect(calls.invoke("munmap", mapped.value, 8192)).toMatchObject({ value: 0n, errno: 0 });
    expect(calls.invoke("munmap", (1n << 63n) + 4096n, 4096).errno).toBe(22);
  });

  test("give no address of memory that V8 may move", async () => {
    const calls = await loadSystemCalls();
    expect(() => calls.addressOf(new Uint8Array(64))).toThrow(RangeError);
    expect(() => calls.addressOf(new Uint8Array(200).subarray(8))).toThrow(RangeError);
    const bytes = new Uint8Array(4096);
    const address = calls.addressOf(bytes);
    calls.copy(address + 100n, Uint8Array.of(1, 2, 3));
    expect([...bytes.subarray(99, 104)]).toEqual([0, 1, 2, 3, 0]);
  });
});
