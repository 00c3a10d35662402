/** What the watcher of pauses does for a guest of libvirt's, whose keeper was killed. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { afterEach, expect, it } from "vitest";

import { resumeDomain } from "../../../src/targets/libvirt/resume-domain.ts";
import { type FakeLibvirt, type FakeLibvirtOptions, startFakeLibvirt } from "./fake-libvirt.ts";

let fake: FakeLibvirt | undefined;
afterEach(async () => {
  await fake?.stop();
  fake = undefined;
});

const LIMIT_MS = 8000;

async function resumed(
  options: FakeLibvirtOptions,
  { virsh = 0, domain = "7" }: { readonly virsh?: number; readonly domain?: string } = {},
): Promise<boolean> {
  fake = await startFakeLibvirt(options);
  const guest = { target: "libvirt:guest", domain, virsh };
  return await resumeDomain(guest, performance.now() + LIMIT_MS, fake.env);
}

it("lets it run where it is paused", async () => {
  expect(await resumed({ guest: { status: "paused" } })).toBe(true);
  expect(fake!.guest.state.running).toBe(true);
  expect(fake!.calls).toEqual([
    ["domstate", "7"],
    ["resume", "7"],
  ]);
});

it("leaves it alone where it runs", async () => {
  expect(await resumed({})).toBe(false);
  expect(fake!.calls).toEqual([["domstate", "7"]]);
});

it("has nothing to do where the domain has ended, or is started again under another number", async () => {
  expect(await resumed({ guest: { status: "paused" } }, { domain: "6" })).toBe(false);
  expect(fake!.guest.state.running).toBe(false);
});

it("waits until the keeper's virsh has ended, which may still stop the guest", async () => {
  const virsh = spawn("sleep", ["0.4"]);
  const ended = once(virsh, "exit");
  let isOver = false;
  void ended.then(() => (isOver = true));
  const answer: FakeLibvirtOptions["answer"] = () => {
    expect(isOver).toBe(true);
    return undefined;
  };
  expect(await resumed({ guest: { status: "paused" }, answer }, { virsh: virsh.pid! })).toBe(true);
  await ended;
});

it("says so where libvirt cannot be asked: it is tried again", async () => {
  const words = "Failed to connect socket to '/run/libvirt/libvirt-sock': Connection refused";
  await expect(resumed({ answer: () => ({ error: words }) })).rejects.toThrow(words);
});
