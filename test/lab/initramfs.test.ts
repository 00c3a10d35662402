import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CpioEntry } from "../../src/lab/cpio.ts";
import {
  buildInitramfs,
  captureInitramfs,
  guestInitramfs,
  type GuestInitramfsParts,
} from "../../src/lab/initramfs.ts";
import { readCpio } from "./read-cpio.ts";

let directory: string;
let parts: GuestInitramfsParts;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdump-hotplug-test-"));
  const put = async (name: string): Promise<string> => {
    await writeFile(join(directory, name), `the ${name}`);
    return join(directory, name);
  };
  const lib = "/usr/lib/x86_64-linux-gnu";
  parts = {
    busybox: await put("busybox"),
    initScript: "#!/bin/busybox sh\necho hé\n",
    kexec: {
      binary: await put("kexec"),
      loader: { guestPath: "/lib64/ld-linux-x86-64.so.2", hostPath: await put("loader") },
      libraries: [{ guestPath: `${lib}/libc.so.6`, hostPath: await put("libc") }],
    },
    vmlinuz: await put("vmlinuz"),
    captureInitramfs: new Uint8Array([1, 2, 3]),
  };
});
afterAll(() => rm(directory, { recursive: true, force: true }));

function unpack(initramfs: Uint8Array): ReadonlyMap<string, CpioEntry> {
  return new Map(readCpio(gunzipSync(initramfs)).map(({ entry }) => [entry.name, entry]));
}

function content(entry: CpioEntry | undefined): string {
  return entry?.kind === "file" ? Buffer.from(entry.data).toString("utf8") : "";
}

describe("an initramfs", () => {
  test("of the capture kernel has busybox, an executable init and a console", async () => {
    const entries = unpack(await captureInitramfs(parts));
    expect(entries.get("init")).toMatchObject({ kind: "file", mode: 0o755 });
    expect(content(entries.get("init"))).toBe(parts.initScript);
    expect(entries.get("bin/busybox")).toMatchObject({ mode: 0o755 });
    expect(entries.get("dev/console")).toMatchObject({ kind: "character-device", major: 5, minor: 1 });
    expect(entries.get("dev/null")).toMatchObject({ kind: "character-device", major: 1, minor: 3 });
    for (const name of ["proc", "sys", "dev", "tmp", "run"])
      expect(entries.get(name)?.kind).toBe("directory");
    expect(entries.has("boot")).toBe(false);
  });

  test("of the guest has kexec, its loader and libraries, and what it loads", async () => {
    const extra = { kind: "file", name: "opt/lab/agent", mode: 0o755, data: new Uint8Array([7]) } as const;
    const entries = unpack(await guestInitramfs({ ...parts, extraFiles: [extra] }));
    expect(content(entries.get("usr/sbin/kexec"))).toBe("the kexec");
    expect(content(entries.get("lib64/ld-linux-x86-64.so.2"))).toBe("the loader");
    expect(content(entries.get("usr/lib/x86_64-linux-gnu/libc.so.6"))).toBe("the libc");
    expect(content(entries.get("boot/vmlinuz"))).toBe("the vmlinuz");
    expect(entries.get("boot/capture.cpio.gz")).toMatchObject({ data: parts.captureInitramfs });
    expect(entries.get("opt/lab/agent")).toEqual(extra);
    expect(entries.get("opt/lab")?.kind).toBe("directory");
  });

  test("takes a static kexec, which has no loader", async () => {
    const kexec = { binary: parts.kexec.binary, loader: undefined, libraries: [] };
    const entries = unpack(await guestInitramfs({ ...parts, kexec }));
    expect(entries.has("usr/sbin/kexec")).toBe(true);
    expect(entries.has("lib64")).toBe(false);
  });

  test("is the same bytes every time, with neither time nor system in the gzip header", async () => {
    const [one, two] = [await guestInitramfs(parts), await guestInitramfs(parts)];
    expect(one).toEqual(two);
    for (const level of [0, 1, 6, 9]) {
      // RFC 1952: magic, deflate, no flags, mtime 0, extra flags of the level, Unix.
      const header = [...buildInitramfs([], level).subarray(0, 10)];
      expect(header.slice(0, 8)).toEqual([0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
      expect(header[9]).toBe(3);
    }
  });

  test("passes on that a part cannot be read", async () => {
    await expect(guestInitramfs({ ...parts, vmlinuz: join(directory, "none") })).rejects.toThrow("ENOENT");
  });
});
