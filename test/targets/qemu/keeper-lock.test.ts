import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { expect, it } from "vitest";
import { KeeperLock } from "../../../src/targets/qemu/keeper-lock.ts";

const self = { pid: process.pid, uid: 0, gid: 0 };

it("one keeper's lock keeps another one away until it is given back", async () => {
  const [ours, theirs] = [new KeeperLock([self]), new KeeperLock([self])];
  const first = await ours.take();
  const again = await ours.take();
  expect(ours.isHeld).toBe(true);
  await expect(theirs.take()).rejects.toMatchObject({
    name: "KeeperBusyError",
    message: expect.stringMatching(
      new RegExp(`^Another kdump-hotplug \\(process ${process.pid}\\) is at work on this guest`),
    ),
  });
  await first[Symbol.asyncDispose]();
  await expect(theirs.take()).rejects.toThrow("Another kdump-hotplug");
  await again[Symbol.asyncDispose]();
  expect(ours.isHeld).toBe(false);
  await using _ = await theirs.take();
  await expect(ours.take()).rejects.toThrow("Another kdump-hotplug");
});

it("goes with a process that is killed", async () => {
  const lock = new KeeperLock([self]);
  const taken = await lock.take();
  const table = await readFile("/proc/net/unix", "utf8");
  const name = new RegExp(`@(kdump-hotplug-keeper-${process.pid}-\\d+-*)$`, "m").exec(table)![1]!;
  await taken[Symbol.asyncDispose]();
  // What a keeper in another process does.
  const code = `require("net").createServer().listen({ path: "\\0${name}" }, () => console.log("taken"))`;
  const child = spawn(process.execPath, ["-e", code], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  await once(child.stdout, "data");
  await expect(lock.take()).rejects.toThrow(`(process ${child.pid})`);
  child.kill("SIGKILL");
  await exited;
  await using _ = await lock.take();
});

it("is none where QEMU's process is not known: nobody is refused", async () => {
  const [ours, theirs] = [new KeeperLock([]), new KeeperLock([])];
  await using one = await ours.take();
  await using two = await theirs.take();
  expect([one, two]).toHaveLength(2);
  expect(ours.isHeld).toBe(false);
});
