import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import {
  findDomainProcess,
  type RunningDomain,
  stateDirectoryOf,
} from "../../../src/targets/libvirt/domain.ts";
import { UUID } from "./fake-libvirt.ts";

let root = "";
beforeEach(async () => void (root = await mkdtemp(join(tmpdir(), "kdh-test-"))));
afterEach(() => rm(root, { recursive: true }));

async function put(path: string, text: string): Promise<void> {
  await mkdir(join(root, path, ".."), { recursive: true });
  await writeFile(join(root, path), text);
}

const cmdline = (uuid: string): string =>
  ["qemu-system-x86_64", "-name", "guest=g", "-uuid", uuid, ""].join("\0");

const inRoot = (domain: Omit<RunningDomain, "stateDirectory">): RunningDomain => ({
  ...domain,
  stateDirectory: join(root, "state"),
});

const ENV = { HOME: "/home/u", XDG_RUNTIME_DIR: "/run/user/9" };

describe("where a libvirt has its pid files", () => {
  it.each([
    ["qemu:///system", "/run/libvirt/qemu"],
    ["qemu+unix:///system", "/run/libvirt/qemu"],
    ["qemu:///session", "/run/user/9/libvirt/qemu/run"],
    ["qemu+unix:///system?socket=/pod/libvirt/virtqemud-sock", "/pod/libvirt/qemu"],
    ["qemu+unix:///session?socket=/tmp/x%20y/libvirt/libvirt-sock&mode=direct", "/tmp/x y/libvirt/qemu/run"],
  ])("is beside the socket of %s", (uri, directory) => {
    expect(stateDirectoryOf(uri, ENV)).toBe(directory);
  });

  it.each([
    ["qemu+ssh://root@host/system", "remote"],
    ["qemu+tls:///system", "remote"],
    ["qemu://host/system", "remote"],
    ["lxc:///system", "not-qemu"],
    ["", "not-qemu"],
  ])("is out of reach for %s", (uri, kind) => {
    expect(() => stateDirectoryOf(uri, ENV)).toThrow(expect.objectContaining({ kind }));
  });
});

describe("the process of a domain", () => {
  const domain = { name: "g", uuid: UUID, id: "3" };
  it("is the one in its pid file", async () => {
    await put("state/g.pid", "4001\n");
    await put("proc/4001/cmdline", cmdline(UUID.toUpperCase()));
    expect(await findDomainProcess(inRoot(domain), join(root, "proc"))).toEqual([
      { pid: 4001, uid: process.getuid?.(), gid: process.getgid?.() },
    ]);
  });

  it("is found where its name has what XML escapes: libvirt escapes it", async () => {
    await put("state/it&apos;s &lt;b&gt;.pid", "4001");
    await put("proc/4001/cmdline", cmdline(UUID));
    const found = await findDomainProcess(inRoot({ ...domain, name: "it's <b>" }), join(root, "proc"));
    expect(found).toMatchObject([{ pid: 4001 }]);
  });

  it("is not taken from a pid file of another domain, of the past, or of no use", async () => {
    const wanted = inRoot(domain);
    await put("state/g.pid", "4001");
    expect(await findDomainProcess(wanted, join(root, "proc"))).toEqual([]);
    await put("proc/4001/cmdline", cmdline("00000000-0c77-4d0e-9d50-3f8f6b1f6f01"));
    expect(await findDomainProcess(wanted, join(root, "proc"))).toEqual([]);
    await put("proc/4001/cmdline", ["sleep", "100", ""].join("\0"));
    expect(await findDomainProcess(wanted, join(root, "proc"))).toEqual([]);
    await put("state/g.pid", "../../etc");
    expect(await findDomainProcess(wanted, join(root, "proc"))).toEqual([]);
  });
});
