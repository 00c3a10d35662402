/** What a machine's files tell of its udev, its devices and its services. */
import { mkdir, symlink } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { findHotplugDevices } from "../../../src/targets/local/hotplug-devices.ts";
import {
  findKdumpServices,
  findSystemCallFilter,
  readActiveUnits,
} from "../../../src/targets/local/kdump-service.ts";
import { RootTree } from "../../../src/targets/local/tree.ts";
import { findUdevVersion } from "../../../src/targets/local/udev-version.ts";
import { TempTree } from "./simulated-tree.ts";

let temp: TempTree;
let tree: RootTree;

beforeEach(async () => {
  temp = await TempTree.make();
  tree = new RootTree(temp.root);
});
afterEach(() => temp[Symbol.asyncDispose]());

async function link(target: string, path: string): Promise<void> {
  await mkdir(join(temp.root, path, ".."), { recursive: true });
  await symlink(target, join(temp.root, path));
}

describe("udev's version", () => {
  test.each([
    ["usr/lib/systemd/libsystemd-shared-239.so", 239, 239],
    ["usr/lib/systemd/libsystemd-shared-252-46.el9.so", 252, 252],
    ["usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-257.so", 257, 257],
    ["lib/systemd/libsystemd-shared-245.so", 245, 247],
    ["lib/systemd/libsystemd-shared-241.so", 241, 239],
    ["usr/lib/systemd/libsystemd-core-300.so", 300, 257],
    ["usr/lib/systemd/libsystemd-shared-231.so", 231, 219],
  ])("by %s is %d, read as %d", async (path, version, readAs) => {
    await temp.write(path, "");
    expect(await findUdevVersion(tree)).toMatchObject({
      version,
      source: `/${path}`,
      dialect: { version: readAs },
    });
  });

  test("by the release where there is no library", async () => {
    await temp.write("usr/lib/systemd/libsystemd-shared.so", "");
    await temp.write("etc/os-release", 'NAME="Red Hat"\nID="rhel"\nVERSION_ID="7.9"\n');
    expect(await findUdevVersion(tree)).toMatchObject({ version: 219, source: "/etc/os-release" });
    await temp.write("etc/os-release", "ID=somebody\nVERSION_ID=1\n");
    expect(await findUdevVersion(tree)).toMatchObject({ version: undefined });
  });
});

test("the last block and CPU stand for the next, with what they say of themselves", async () => {
  await temp.write("sys/devices/system/memory/memory9/removable", "0\n");
  await temp.write("sys/devices/system/memory/memory10/removable", "1\n");
  await temp.write("sys/devices/system/cpu/cpu0/uevent", "DRIVER=processor\nMODALIAS=cpu:type:x86\n");
  await temp.write("sys/devices/system/cpu/cpuidle/x", "");
  expect(await findHotplugDevices(tree)).toEqual([
    { kind: "memory", name: "memory10", isPresent: true, attributes: { removable: "1" }, variables: {} },
    { kind: "cpu", name: "cpu3", isPresent: false, attributes: {}, variables: {} },
  ]);
  await temp.write("sys/devices/system/cpu/cpu1/uevent", "DRIVER=processor\nMODALIAS=cpu:type:x86\n");
  expect((await findHotplugDevices(tree))[1]).toMatchObject({
    name: "cpu1",
    variables: { MODALIAS: "cpu:type:x86" },
  });
});

describe("systemd's files", () => {
  test("say which service is there, started at boot, active or masked", async () => {
    await temp.write("usr/lib/systemd/system/kdump.service", "[Unit]\n");
    await link("/dev/null", "etc/systemd/system/kdump-tools.service");
    await link(
      "/usr/lib/systemd/system/kdump.service",
      "etc/systemd/system/multi-user.target.wants/kdump.service",
    );
    const kdump = {
      unit: "kdump.service",
      path: "/usr/lib/systemd/system/kdump.service",
      isMasked: false,
      isEnabled: true,
    };
    const tools = {
      unit: "kdump-tools.service",
      path: "/etc/systemd/system/kdump-tools.service",
      isMasked: true,
      isEnabled: false,
    };
    expect(await findKdumpServices(tree)).toEqual([
      { ...kdump, isActive: undefined },
      { ...tools, isActive: undefined },
    ]);
    await link("0123456789abcdef", "run/systemd/units/invocation:kdump.service");
    expect((await findKdumpServices(tree)).map(({ isActive }) => isActive)).toEqual([true, false]);
    expect((await readActiveUnits(tree))("other.service")).toBe(false);
  });

  test.each([
    ["Debian's", "[Service]\nSystemCallFilter=@system-service @module @raw-io bpf\n", 2],
    ["one that names the call", "SystemCallFilter=@system-service kexec_load:EPERM\n", undefined],
    ["one with @reboot", "SystemCallFilter=@system-service\nSystemCallFilter=@reboot\n", undefined],
    ["a list of what is refused", "SystemCallFilter=~@clock\n", undefined],
    ["one that is taken back", "SystemCallFilter=@system-service\nSystemCallFilter=\n", undefined],
    ["none", "[Service]\nExecStart=/x\n", undefined],
  ])("%s filter keeps udev's workers from loading: %s", async (_name, text, line) => {
    await temp.write("usr/lib/systemd/system/systemd-udevd.service", text);
    expect((await findSystemCallFilter(tree))?.line).toBe(line);
  });

  test("a drop-in may permit what udevd's own file does not", async () => {
    await temp.write("usr/lib/systemd/system/systemd-udevd.service", "SystemCallFilter=@system-service\n");
    await temp.write("etc/systemd/system/systemd-udevd.service.d/kdump.conf", "SystemCallFilter=@reboot\n");
    expect(await findSystemCallFilter(tree)).toBeUndefined();
  });
});
