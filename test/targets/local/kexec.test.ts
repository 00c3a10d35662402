/** Loading images: what is asked of the kernel, what is refused before, and what is said of its answers. No image is ever loaded. */
import { describe, expect, test } from "vitest";
import type { ReadTree } from "../../../src/layout/sysfs.ts";
import { KexecError, KexecRefusedError } from "../../../src/targets/local/kexec-error.ts";
import { loadFiles } from "../../../src/targets/local/kexec-file-load.ts";
import {
  checkLoad,
  type KexecLimits,
  type KexecLoad,
  prepareLoad,
} from "../../../src/targets/local/kexec-load.ts";
import { kexecMissing, kexecRefusals, lockdownOf } from "../../../src/targets/local/kexec-permission.ts";
import { LockedMemory } from "../../../src/targets/local/locked-memory.ts";
import { retryWhileBusy } from "../../../src/targets/local/retry-busy.ts";
import { loadSystemCalls } from "../../../src/targets/local/system-calls.ts";
import { AnsweredCalls, ownMemory, RefusedCalls } from "./harmless-calls.ts";
import { noCalls } from "./this-kernel.ts";

const LIMITS: KexecLimits = { crash: { start: 0x7000_0000n, end: 0x7f00_0000n }, memTotal: 2n << 30n };

const HEADER = {
  address: 0x7000_1000n,
  size: 0x2000,
  bytes: Uint8Array.from({ length: 5000 }, (_, i) => i % 251),
};
const PURGATORY = { address: 0x7eff_c000n, size: 0x4000, bytes: new Uint8Array(0x4000).fill(0xc3) };
const LOAD: KexecLoad = { entry: 0x7eff_c000n, segments: [PURGATORY, HEADER] };

const EPERM = 1;
const EBUSY = 16;
const EINVAL = 22;

/** The text that kexec_file_load was given. */
function textOf({ made }: AnsweredCalls): string {
  const text = made[0]?.args[3];
  return text instanceof Uint8Array ? Buffer.from(text).toString() : String(text);
}

function busy(): never {
  throw new KexecError("kexec_load", "it", EBUSY);
}

function tree(files: Readonly<Record<string, string>>): ReadTree {
  return { readText: async (path) => files[path], list: async () => [] };
}

describe("an image", () => {
  test("that the kernel would take is not refused, up to the ends of crash memory", () => {
    expect(() => checkLoad(LOAD, LIMITS)).not.toThrow();
    const { crash } = LIMITS;
    const whole = { address: crash.start, size: Number(crash.end - crash.start), bytes: new Uint8Array(0) };
    expect(() => checkLoad({ entry: crash.end - 1n, segments: [whole] }, LIMITS)).not.toThrow();
  });

  test.each<[string, Partial<KexecLoad>, Partial<KexecLimits>]>([
    ["there are 0 segments, expected 1 to 16", { segments: [] }, {}],
    [
      "there are 17 segments",
      {
        segments: Array.from({ length: 17 }, (_, i) => ({
          ...HEADER,
          address: 0x7100_0000n + BigInt(i) * 0x2000n,
        })),
      },
      {},
    ],
    ["the entry 0x7f000000 is not in crash memory", { entry: 0x7f00_0000n }, {}],
    ["the entry 0x6fffffff is not in crash memory", { entry: 0x6fff_ffffn }, {}],
    ["is no whole pages", { segments: [{ ...HEADER, address: 0x7000_1008n }] }, {}],
    ["is no whole pages", { segments: [{ ...HEADER, size: 0x2001 }] }, {}],
    ["has no size", { segments: [{ ...HEADER, size: 0 }] }, {}],
    ["has no size", { segments: [{ ...HEADER, size: -4096 }] }, {}],
    ["is not in crash memory", { segments: [{ ...HEADER, address: 0x6fff_f000n }] }, {}],
    ["is not in crash memory", { segments: [{ ...HEADER, address: 0x7eff_f000n }] }, {}],
    ["has 5000 bytes to hold", { segments: [{ ...HEADER, size: 0x1000 }] }, {}],
    ["at 0x70002000 of 4096 bytes", { segments: [{ ...HEADER, address: 0x7000_2000n, size: 0x1000 }] }, {}],
    [
      "the segment at 0x70001000 of 8192 bytes overlaps the segment at 0x70002000 of 16384 bytes",
      { segments: [{ ...PURGATORY, address: 0x7000_2000n }, HEADER] },
      {},
    ],
    ["it has 24576 bytes, more than half of memory (40960 bytes)", {}, { memTotal: 40_960n }],
  ])("is refused before the call: %s", (words, load, limits) => {
    const check = (): void => checkLoad({ ...LOAD, ...load }, { ...LIMITS, ...limits });
    expect(check).toThrow(KexecRefusedError);
    expect(check).toThrow(words);
  });
});

const reason = await noCalls();

describe.skipIf(reason)(`kexec_load${reason ? ` (skipped: ${reason})` : ""}`, () => {
  test("is given each segment whole, out of memory that is locked, and its duration is told", async () => {
    const seen: unknown[] = [];
    const calls = new AnsweredCalls(await loadSystemCalls(), ({ name, args }) => {
      if (name !== "kexec_load") return undefined;
      const [entry, count, table, flags] = args;
      const segments = ownMemory(BigInt(Number(table)), 32 * Number(count));
      seen.push({ entry, flags });
      for (let i = 0; i < Number(count); i++) {
        const bytes = ownMemory(
          segments.readBigUInt64LE(32 * i),
          Number(segments.readBigUInt64LE(32 * i + 8)),
        );
        const [address, size] = [
          segments.readBigUInt64LE(32 * i + 16),
          segments.readBigUInt64LE(32 * i + 24),
        ];
        seen.push({ address, size: Number(size), bytes: new Uint8Array(bytes) });
      }
      return 0;
    });
    using prepared = prepareLoad(calls, LOAD, LIMITS);
    expect(calls.made.map(({ name }) => name)).toEqual(["mmap", "mlock"]);
    expect(prepared.load()).toBe(1.5);
    expect(seen).toEqual([{ entry: 0x7eff_c000n, flags: 1n | (62n << 16n) }, PURGATORY, HEADER]);
    prepared[Symbol.dispose]();
    expect(calls.made.at(-1)?.name).toBe("munmap");
    expect(() => prepared.load()).toThrow("its memory was given back");
    expect(calls.made.filter(({ name }) => name === "kexec_load")).toHaveLength(1);
  });

  test("says that the kernel may update the header only where it was told so", async () => {
    const calls = new AnsweredCalls(await loadSystemCalls(), ({ name }) =>
      name === "kexec_load" ? 0 : undefined,
    );
    using prepared = prepareLoad(calls, { ...LOAD, kernelUpdatesHeader: true }, LIMITS);
    prepared.load();
    expect(calls.made.at(-1)?.args[3]).toBe(1n | 4n | (62n << 16n));
  });

  test("is not called, and nothing is kept, where memory may not be locked", async () => {
    const calls = new AnsweredCalls(await loadSystemCalls(), ({ name }) =>
      name === "mlock" ? 12 : undefined,
    );
    expect(() => prepareLoad(calls, LOAD, LIMITS)).toThrow(
      "Cannot lock 28672 bytes of memory (mlock): ENOMEM, more than this process may lock",
    );
    expect(calls.made.map(({ name }) => name)).toEqual(["mmap", "mlock", "munmap"]);
  });

  test.each([
    [EPERM, true, "EPERM, not permitted; the image that was loaded before is still armed"],
    [EBUSY, true, "EBUSY, another loader, or the kernel's own hotplug handler, holds the kexec lock"],
    [38, true, "ENOSYS, this kernel was built without it"],
    [EINVAL, undefined, "may be gone: see /sys/kernel/kexec_crash_loaded"],
    [99, undefined, "EADDRNOTAVAIL, no place for it"],
    [12, undefined, "ENOMEM, not enough free memory"],
    [14, undefined, "EFAULT, a segment's bytes"],
    [71, undefined, "EPROTO, not an answer that is known of this call"],
  ])("that answers %i says what became of the old image", async (errno, imageKept, words) => {
    const calls = new AnsweredCalls(await loadSystemCalls(), ({ name }) =>
      name === "kexec_load" ? errno : undefined,
    );
    using prepared = prepareLoad(calls, LOAD, LIMITS);
    expect(() => prepared.load()).toThrow(
      expect.objectContaining({ errno, imageKept, message: expect.stringContaining(words) }),
    );
    expect(() => prepared.load()).toThrow(
      "Cannot load segments 0x7effc000+0x4000, 0x70001000+0x2000, entry 0x7effc000 (kexec_load): ",
    );
  });

  test("of this kernel answers a call that every kernel refuses", async () => {
    using prepared = prepareLoad(new RefusedCalls(await loadSystemCalls()), LOAD, LIMITS);
    expect(() => prepared.load()).toThrow(KexecError);
    expect(() => prepared.load()).toThrow(
      /\(kexec_load\): (ENOSYS, this kernel was|EPERM, not permitted|EINVAL, the)/,
    );
  });
});

describe.skipIf(reason)(`kexec_file_load${reason ? ` (skipped: ${reason})` : ""}`, () => {
  test("is given the files and the command line with its NUL", async () => {
    const calls = new AnsweredCalls(await loadSystemCalls(), () => 0);
    expect(loadFiles(calls, { kernel: 11, initrd: 12, commandLine: "root=/dev/sda1 quiet" })).toBe(1.5);
    expect(calls.made[0]?.args.toSpliced(3, 1)).toEqual([11, 12, 21, 2]);
    expect(textOf(calls)).toBe("root=/dev/sda1 quiet\0");
  });

  test("without an initrd is told so, and never to unload", async () => {
    const calls = new AnsweredCalls(await loadSystemCalls(), () => 0);
    loadFiles(calls, { kernel: 11, initrd: undefined, commandLine: "" });
    expect(calls.made[0]?.args.toSpliced(3, 1)).toEqual([11, -1, 1, 2 | 4]);
    expect(textOf(calls)).toBe("\0");
  });

  test("that is not permitted may have let go of the old image: signatures are looked at late", async () => {
    const calls = new AnsweredCalls(await loadSystemCalls(), () => EPERM);
    expect(() => loadFiles(calls, { kernel: 3, initrd: undefined, commandLine: "" })).toThrow(
      expect.objectContaining({ code: "EPERM", imageKept: undefined }),
    );
  });

  test("of this kernel answers a call that every kernel refuses", async () => {
    const calls = new RefusedCalls(await loadSystemCalls());
    expect(() => loadFiles(calls, { kernel: -1, initrd: undefined, commandLine: "" })).toThrow(
      /^Cannot load a kernel file \(kexec_file_load\): (ENOSYS|EPERM|EINVAL), /,
    );
  });
});

describe.skipIf(reason)(`locked memory${reason ? ` (skipped: ${reason})` : ""}`, () => {
  test("holds pieces on pages of their own, and no more than it has room for", async () => {
    const calls = await loadSystemCalls();
    using memory = new LockedMemory(calls, LockedMemory.roomFor([1, 4096, 0, 4097]));
    const first = memory.place(Uint8Array.of(7));
    const second = memory.place(new Uint8Array(4096).fill(8));
    expect(second - first).toBe(4096n);
    expect([...ownMemory(first, 2), ...ownMemory(second + 4095n, 1)]).toEqual([7, 0, 8]);
    memory.place(new Uint8Array(4097));
    expect(() => memory.place(Uint8Array.of(1))).toThrow("Cannot place 1 bytes: 0 of 16384 are free");
    memory[Symbol.dispose]();
    expect(() => memory.place(Uint8Array.of(1))).toThrow("given back");
    expect(() => ownMemory(first, 1)).toThrow(/EIO|EFAULT/);
  });
});

describe("a loader that finds the lock held", () => {
  test("tries again until it is free, and looks again before each attempt", async () => {
    const steps: string[] = [];
    const attempt = (): string => {
      steps.push("try");
      return steps.length < 6 ? busy() : "loaded";
    };
    await expect(retryWhileBusy(attempt, { check: () => void steps.push("look") })).resolves.toBe("loaded");
    expect(steps).toEqual(["look", "try", "look", "try", "look", "try"]);
  });

  test("gives up after the limit, with what it was told", async () => {
    let clock = 0;
    let tries = 0;
    const attempt = (): never => {
      tries++;
      clock += 60;
      return busy();
    };
    await expect(retryWhileBusy(attempt, { limitMs: 200, now: () => clock })).rejects.toMatchObject({
      code: "EBUSY",
    });
    expect(tries).toBe(4);
  });

  test("does not try again what cannot become better, nor what was found to be another image", async () => {
    let tries = 0;
    const attempt = (): never => {
      tries++;
      throw new KexecError("kexec_load", "it", EINVAL);
    };
    await expect(retryWhileBusy(attempt)).rejects.toMatchObject({ code: "EINVAL" });
    expect(tries).toBe(1);
    const changed = new Error("the image is another one");
    await expect(retryWhileBusy(attempt, { check: () => Promise.reject(changed) })).rejects.toThrow(
      "the image is another one",
    );
    expect(tries).toBe(1);
  });

  test("ends when it is told to", async () => {
    const stop = new AbortController();
    const trying = retryWhileBusy(busy, { signal: stop.signal });
    stop.abort(new Error("enough"));
    await expect(trying).rejects.toThrow("enough");
  });
});

describe("what keeps a process from kexec", () => {
  const ROOT = { "/proc/self/status": "Name:\tnode\nCapEff:\t000001ffffffffff\n" };

  test("is nothing where nothing says so, and where nothing can be read", async () => {
    await expect(kexecRefusals(tree({}), "kexec_load")).resolves.toEqual([]);
    const files = {
      ...ROOT,
      "/proc/sys/kernel/kexec_load_disabled": "0\n",
      "/proc/sys/kernel/kexec_load_limit_panic": "-1\n",
      "/sys/kernel/security/lockdown": "[none] integrity confidentiality\n",
    };
    await expect(kexecRefusals(tree(files), "kexec_load")).resolves.toEqual([]);
  });

  test.each([
    ["/proc/self/status", "CapEff:\t000001ffffbfffff\n", "this process has no CAP_SYS_BOOT"],
    ["/proc/sys/kernel/kexec_load_disabled", "1\n", "kernel.kexec_load_disabled is 1"],
    ["/proc/sys/kernel/kexec_load_limit_panic", "0\n", "kernel.kexec_load_limit_panic is 0"],
    [
      "/sys/kernel/security/lockdown",
      "none [integrity] confidentiality\n",
      "the kernel is locked down (lockdown=integrity)",
    ],
  ])("is in %s", async (path, content, words) => {
    const refusals = await kexecRefusals(tree({ ...ROOT, [path]: content }), "kexec_load");
    expect(refusals).toEqual([expect.stringContaining(words)]);
  });

  test("is there at all where the kernel says whether something is loaded, at either place", async () => {
    for (const path of ["/sys/kernel/kexec_crash_loaded", "/sys/kernel/kexec/crash_loaded"])
      await expect(kexecMissing(tree({ [path]: "0\n" }))).resolves.toBeUndefined();
    await expect(kexecMissing(tree(ROOT))).resolves.toMatch(/built without kexec/);
  });

  test("of kexec_file_load is not lockdown: that one loads signed kernels", async () => {
    const files = { ...ROOT, "/sys/kernel/security/lockdown": "none integrity [confidentiality]\n" };
    await expect(kexecRefusals(tree(files), "kexec_file_load")).resolves.toEqual([]);
    expect(lockdownOf(files["/sys/kernel/security/lockdown"])).toBe("confidentiality");
    expect(lockdownOf("none integrity confidentiality")).toBeUndefined();
  });
});
