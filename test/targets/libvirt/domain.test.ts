import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { findDomainProcess } from "../../../src/targets/libvirt/domain.ts";
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

const places = (): Parameters<typeof findDomainProcess>[1] => ({
  proc: join(root, "proc"),
  run: join(root, "run"),
  env: { XDG_RUNTIME_DIR: join(root, "user") },
});

describe("the process of a domain", () => {
  const domain = { name: "g", uuid: UUID, id: "3" };
  it.each([
    ["system", "run/libvirt/qemu/g.pid"],
    ["session", "user/libvirt/qemu/run/g.pid"],
  ] as const)("is the one in the pid file of the %s's libvirt", async (instance, path) => {
    await put(path, "4001\n");
    await put("proc/4001/cmdline", cmdline(UUID.toUpperCase()));
    expect(await findDomainProcess({ ...domain, instance }, places())).toEqual([
      { pid: 4001, uid: process.getuid?.(), gid: process.getgid?.() },
    ]);
    const other = instance === "system" ? "session" : "system";
    expect(await findDomainProcess({ ...domain, instance: other }, places())).toEqual([]);
  });

  it("is not taken from a pid file of another domain, of the past, or of no use", async () => {
    const wanted = { ...domain, instance: "system" } as const;
    await put("run/libvirt/qemu/g.pid", "4001");
    expect(await findDomainProcess(wanted, places())).toEqual([]);
    await put("proc/4001/cmdline", cmdline("00000000-0c77-4d0e-9d50-3f8f6b1f6f01"));
    expect(await findDomainProcess(wanted, places())).toEqual([]);
    await put("proc/4001/cmdline", ["sleep", "100", ""].join("\0"));
    expect(await findDomainProcess(wanted, places())).toEqual([]);
    await put("run/libvirt/qemu/g.pid", "../../etc");
    expect(await findDomainProcess(wanted, places())).toEqual([]);
  });
});
