import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  readCrashHotplug,
  readNamedRules,
  readRuleDirectories,
} from "../../src/targets/local/rules-files.ts";

let root = "";

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "kdump-hotplug-rules-"));
});

afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

async function put(path: string, text: string): Promise<void> {
  await mkdir(join(root, path, ".."), { recursive: true });
  await writeFile(join(root, path), text);
}

const DIRECTORIES = ["/etc/udev/rules.d", "/run/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d"];

describe("readRuleDirectories", () => {
  test("reads what udev would, in its order, below a root", async () => {
    await put("usr/lib/udev/rules.d/50-a.rules", "A");
    await put("usr/lib/udev/rules.d/98-kexec.rules", "B");
    await put("usr/lib/udev/rules.d/README", "no");
    await put("usr/lib/udev/rules.d/60-x.rules~", "no");
    await put("etc/udev/rules.d/50-a.rules", "mine");
    await symlink("/dev/null", join(root, "etc/udev/rules.d/98-kexec.rules"));
    await put("run/udev/rules.d/10-r.rules", "R");
    await put("run/udev/rules.d/20-empty.rules", "");
    expect(await readRuleDirectories(DIRECTORIES, root)).toEqual([
      { path: "/run/udev/rules.d/10-r.rules", text: "R" },
      { path: "/etc/udev/rules.d/50-a.rules", text: "mine" },
    ]);
  });

  test("follows links within the root", async () => {
    await put("usr/lib/udev/rules.d/50-a.rules", "A");
    await symlink("usr/lib", join(root, "lib"));
    await put("opt/real.rules", "linked");
    await mkdir(join(root, "etc/udev/rules.d"), { recursive: true });
    await symlink("/opt/real.rules", join(root, "etc/udev/rules.d/60-l.rules"));
    await symlink("../../../../../../../../opt/real.rules", join(root, "etc/udev/rules.d/61-l.rules"));
    await symlink("/none", join(root, "etc/udev/rules.d/62-dangling.rules"));
    expect((await readRuleDirectories(DIRECTORIES, root)).map(({ text }) => text)).toEqual([
      "A",
      "linked",
      "linked",
    ]);
  });

  test("ends at a loop of links", async () => {
    await mkdir(join(root, "etc/udev"), { recursive: true });
    await symlink("/etc/udev/rules.d", join(root, "etc/udev/rules.d"));
    await expect(readRuleDirectories(DIRECTORIES, root)).rejects.toThrow("too many links");
  });

  test("is empty where there are no directories", async () => {
    expect(await readRuleDirectories(DIRECTORIES, root)).toEqual([]);
  });

  test("does not wait at a pipe", async () => {
    await mkdir(join(root, "etc/udev/rules.d"), { recursive: true });
    await promisify(execFile)("mkfifo", [join(root, "etc/udev/rules.d/50-p.rules")]);
    await expect(readRuleDirectories(DIRECTORIES, root)).rejects.toThrow("is no regular file");
  });
});

describe("readNamedRules", () => {
  test("sorts by name, and says what is missing or no text", async () => {
    await put("b/10.rules", "1");
    await put("a/20.rules", "2");
    const sources = await readNamedRules([join(root, "a/20.rules"), join(root, "b/10.rules")]);
    expect(sources.map(({ text }) => text)).toEqual(["1", "2"]);
    await expect(readNamedRules([join(root, "none")])).rejects.toThrow("does not exist");
    await put("bad.rules", "a\nb\0");
    await expect(readNamedRules([join(root, "bad.rules")])).rejects.toThrow("bad.rules:2 has a zero byte");
    await expect(readNamedRules([root])).rejects.toThrow("is no regular file");
  });
});

describe("readCrashHotplug", () => {
  test("says absent where the kernel has no such file", async () => {
    expect(await readCrashHotplug(root)).toBe("absent");
    await put("sys/devices/system/memory/crash_hotplug", "1\n");
    expect(await readCrashHotplug(root)).toBe("1");
    await chmod(join(root, "sys/devices/system/memory/crash_hotplug"), 0o644);
    await put("sys/devices/system/memory/crash_hotplug", "0\n");
    expect(await readCrashHotplug(root)).toBe("0");
  });
});
