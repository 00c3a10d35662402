import { symlink } from "node:fs/promises";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LocalError } from "../../../src/targets/local/error.ts";
import { type KdumpFacts, readKdumpFacts, repairFromInside } from "../../../src/targets/local/facts.ts";
import { findSymbols, SymbolSearch } from "../../../src/targets/local/kallsyms.ts";
import { RootTree } from "../../../src/targets/local/tree.ts";
import { TempTree } from "./simulated-tree.ts";

let temp: TempTree;
let tree: RootTree;

beforeEach(async () => {
  temp = await TempTree.make();
  tree = new RootTree(temp.root);
});
afterEach(() => temp[Symbol.asyncDispose]());

const NOTHING: KdumpFacts = {
  crashLoaded: undefined,
  crashSize: undefined,
  memoryHotplug: undefined,
  cpuHotplug: undefined,
  elfcorehdrSize: undefined,
  kexecLoadDisabled: undefined,
  kexecLoadsLeft: undefined,
  lockdown: undefined,
  release: undefined,
  isCaptureKernel: false,
};

describe("what the kernel says of kdump", () => {
  test("is not known where it says nothing", async () => {
    expect(await readKdumpFacts(tree)).toEqual(NOTHING);
  });

  test("is read from its files", async () => {
    await temp.write("sys/kernel/kexec_crash_loaded", "1\n");
    await temp.write("sys/kernel/kexec_crash_size", "268435456\n");
    await temp.write("sys/devices/system/memory/crash_hotplug", "1\n");
    await temp.write("sys/devices/system/cpu/crash_hotplug", "0\n");
    await temp.write("sys/kernel/crash_elfcorehdr_size", "917616\n");
    await temp.write("proc/sys/kernel/kexec_load_disabled", "1\n");
    await temp.write("proc/sys/kernel/kexec_load_limit_panic", "-1\n");
    await temp.write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
    await temp.write("proc/sys/kernel/osrelease", "6.12.107\n");
    await temp.write("proc/vmcore", "");
    expect(await readKdumpFacts(tree)).toEqual({
      crashLoaded: true,
      crashSize: 268_435_456n,
      memoryHotplug: true,
      cpuHotplug: false,
      elfcorehdrSize: 917_616n,
      kexecLoadDisabled: true,
      kexecLoadsLeft: -1n,
      lockdown: "integrity",
      release: "6.12.107",
      isCaptureKernel: true,
    });
  });

  test("is found where 6.19 has it as well", async () => {
    await temp.write("sys/kernel/kexec/crash_loaded", "0\n");
    await temp.write("sys/kernel/kexec/crash_size", "0\n");
    await temp.write("sys/kernel/kexec/crash_elfcorehdr_size", "462448\n");
    expect(await readKdumpFacts(tree)).toEqual({
      ...NOTHING,
      crashLoaded: false,
      crashSize: 0n,
      elfcorehdrSize: 462_448n,
    });
  });

  test.each([
    ["sys/kernel/kexec_crash_loaded", "yes\n", '"yes", expected 0 or 1'],
    ["sys/kernel/kexec_crash_size", "0x1000\n", '"0x1000", expected a decimal number'],
    ["sys/kernel/security/lockdown", "none integrity\n", "in brackets"],
  ])("is refused where %s makes no sense", async (path, text, message) => {
    await temp.write(path, text);
    await expect(readKdumpFacts(tree)).rejects.toThrow(LocalError);
    await expect(readKdumpFacts(tree)).rejects.toThrow(`${temp.root}/${path} is `);
    await expect(readKdumpFacts(tree)).rejects.toThrow(message);
  });
});

test.each<readonly [Partial<KdumpFacts>, boolean | undefined, string]>([
  [{ kexecLoadDisabled: false, lockdown: "none", kexecLoadsLeft: -1n }, true, ""],
  [{ kexecLoadDisabled: false, lockdown: "none", kexecLoadsLeft: 3n }, true, ""],
  [{ kexecLoadDisabled: true, lockdown: "none" }, false, "kexec_load_disabled is 1"],
  [{ kexecLoadDisabled: false, lockdown: "none", kexecLoadsLeft: 0n }, false, "kexec_load_limit_panic is 0"],
  [{ kexecLoadDisabled: false, lockdown: "integrity" }, false, "lockdown=integrity"],
  [{ kexecLoadDisabled: false, lockdown: "confidentiality" }, false, "lockdown=confidentiality"],
  [{ kexecLoadDisabled: false }, undefined, "lockdown is not there"],
  [{ lockdown: "none" }, undefined, "kexec_load_disabled is not there"],
])("repair from inside with %o is permitted: %s", (facts, permitted, reason) => {
  const repair = repairFromInside({ ...NOTHING, ...facts });
  expect(repair.permitted).toBe(permitted);
  expect(repair.reason === "").toBe(reason === "");
  expect(repair.reason).toContain(reason);
});

describe("a tree below a root directory", () => {
  test("does not lead out of it", async () => {
    await temp.write("proc/real", "below\n");
    await symlink("/proc/real", join(temp.root, "proc/absolute"));
    await symlink("../../../../../../../../../../proc/real", join(temp.root, "proc/upwards"));
    await symlink("/etc/hostname", join(temp.root, "proc/outside"));
    expect(await tree.readText("/proc/absolute")).toBe("below\n");
    expect(await tree.readText("/proc/upwards")).toBe("below\n");
    expect(await tree.readText("/proc/outside")).toBeUndefined();
    expect([...(await tree.list("/proc"))].sort()).toEqual(["absolute", "outside", "real", "upwards"]);
    expect(await tree.list("/nowhere")).toEqual([]);
  });

  test("refuses what is no file of text, and waits for nobody", async () => {
    await temp.write("proc/large", new Uint8Array(17 * 1024 * 1024));
    await temp.write("proc/loop2", "");
    await symlink("/proc/loop", join(temp.root, "proc/loop"));
    execFileSync("mkfifo", [join(temp.root, "proc/pipe")]);
    await expect(tree.readText("/proc/large")).rejects.toThrow("has more than 16777216 bytes");
    await expect(tree.readText("/proc/loop")).rejects.toThrow("too many links");
    await expect(tree.readText("/proc/pipe")).rejects.toThrow("is no regular file");
    await expect(tree.readText("/proc")).rejects.toThrow("is no regular file");
  });
});

describe("symbols", () => {
  const KALLSYMS = `0000000000000000 A fixed_percpu_data
ffffffff9ca00000 T _stext
ffffffff9ca00100 t twice
ffffffff9ca00200 t twice
ffffffff9e58e2a8 B kexec_crash_image
ffffffff9e58e2b0 b not_kexec_crash_image
ffffffff9e58e2b8 B kexec_crash_image_not
ffffffffc0000000 t _stext	[module]
ffffffffc0000008 t only_module	[module]
`;
  const NAMES = ["_stext", "kexec_crash_image", "twice", "fixed_percpu_data", "only_module", "absent"];
  const FOUND = new Map([
    ["_stext", 0xffff_ffff_9ca0_0000n],
    ["kexec_crash_image", 0xffff_ffff_9e58_e2a8n],
  ]);

  test("are found in whatever pieces the text comes", () => {
    for (let size = 1; size <= 130; size++) {
      const search = new SymbolSearch(NAMES);
      for (let at = 0; at < KALLSYMS.length; at += size)
        if (!search.append(KALLSYMS.slice(at, at + size))) break;
      expect(search.found).toEqual(FOUND);
    }
  });

  test("are read from the file, and none are there without it", async () => {
    expect(await findSymbols(tree, NAMES)).toEqual(new Map());
    await temp.write("proc/kallsyms", KALLSYMS);
    expect(await findSymbols(tree, NAMES)).toEqual(FOUND);
  });

  test("that the kernel hides are none", async () => {
    await temp.write("proc/kallsyms", KALLSYMS.replaceAll(/^[0-9a-f]{16}/gm, "0".repeat(16)));
    expect(await findSymbols(tree, NAMES)).toEqual(new Map());
  });
});
