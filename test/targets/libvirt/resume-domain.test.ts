/** What the watcher of pauses does for a guest of libvirt's, whose keeper was killed. */
import { spawn } from "node:child_process";
import { afterEach, describe, expect, it } from "vitest";

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

const ASKED = ["qemu-monitor-command", "7", '{"execute":"query-status"}'];

it("lets it run where it is paused", async () => {
  expect(await resumed({ guest: { status: "paused" } })).toBe(true);
  expect(fake!.guest.state.running).toBe(true);
  expect(fake!.calls).toEqual([ASKED, ["resume", "7"], ASKED]);
});

it("leaves it alone where it runs", async () => {
  expect(await resumed({})).toBe(false);
  expect(fake!.calls).toEqual([ASKED]);
});

it("does not take libvirt's word for it: one that was started again may say that it runs", async () => {
  const runs: FakeLibvirtOptions = {
    guest: { status: "paused" },
    answer: ([command]) => (command === "domstate" ? { stdout: "running\n\n" } : undefined),
  };
  expect(await resumed(runs)).toBe(true);
  expect(fake!.guest.state.running).toBe(true);
});

it("resumes it once more where libvirt says that it did, and QEMU that it stands still", async () => {
  let resumes = 0;
  const answer: FakeLibvirtOptions["answer"] = ([command]) =>
    command === "resume" && resumes++ === 0 ? {} : undefined;
  expect(await resumed({ guest: { status: "paused" }, answer })).toBe(true);
  expect(fake!.guest.state.running).toBe(true);
  expect(resumes).toBe(2);
});

it("has nothing to do where the domain has ended, or is started again under another number", async () => {
  expect(await resumed({ guest: { status: "paused" } }, { domain: "6" })).toBe(false);
  expect(fake!.guest.state.running).toBe(false);
});

describe("while the keeper's virsh is there", () => {
  it("a domain that is paused is not kept waiting", async () => {
    const virsh = spawn("sleep", ["60"]);
    try {
      expect(await resumed({ guest: { status: "paused" } }, { virsh: virsh.pid! })).toBe(true);
      expect(virsh.exitCode).toBeNull();
    } finally {
      virsh.kill();
    }
  });

  it("one that runs is looked at again: that virsh may still stop it", async () => {
    const virsh = spawn("sleep", ["60"]);
    let looks = 0;
    const answer: FakeLibvirtOptions["answer"] = ([command]) => {
      if (command === "qemu-monitor-command" && looks++ === 1)
        return { stdout: '{"return":{"status":"paused","running":false},"id":"libvirt-3"}\n\n' };
      return undefined;
    };
    try {
      expect(await resumed({ answer }, { virsh: virsh.pid! })).toBe(true);
      expect(fake!.calls.map(([command]) => command)).toEqual([ASKED[0], ASKED[0], "resume", ASKED[0]]);
    } finally {
      virsh.kill();
    }
  });

  it("one that runs is left alone when that has ended", async () => {
    const virsh = spawn("sleep", ["0.4"]);
    expect(await resumed({}, { virsh: virsh.pid! })).toBe(false);
    expect(fake!.calls.length).toBeGreaterThan(1);
    expect(virsh.exitCode).toBe(0);
  });
});

it("says so where libvirt cannot be asked: it is tried again", async () => {
  const words = "Failed to connect socket to '/run/libvirt/libvirt-sock': Connection refused";
  await expect(resumed({ answer: () => ({ error: words }) })).rejects.toThrow(words);
});
