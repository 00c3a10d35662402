/** Guests that have nothing to be made true: no crash memory, nothing loaded, unloaded again. */
import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LabGuest } from "../../src/lab/guest.ts";
import { loadCaptureKernel } from "../../src/lab/guest-actions.ts";
import { QemuGuest } from "../../src/targets/qemu/guest.ts";
import { cli, cliJson } from "./cli.ts";
import { openLab } from "./lab.ts";

const lab = await openLab("guests with nothing loaded");
afterAll(() => lab?.close());

/** SHA-256 of all of a guest's RAM. */
async function hashOfRam(outside: QemuGuest): Promise<string> {
  const hash = createHash("sha256");
  for (const { start, end } of await outside.memory.ranges())
    hash.update(await outside.memory.read(start, Number(end - start)));
  return hash.digest("hex");
}

/** Every command that could change something answers `not-loaded` with these words, exit code 3. */
async function expectNotLoaded(guest: LabGuest, words: RegExp): Promise<void> {
  const target = `qmp:${guest.qmpPath}`;
  for (const command of [["audit"], ["keep", "--once"]]) {
    const { code, json, stderr } = await cliJson(...command, target);
    expect.soft(code, stderr).toBe(3);
    expect.soft(json).toMatchObject({ verdict: "not-loaded", image: null, target });
    expect.soft(json["reason"]).toMatch(words);
    const text = await cli(...command, target);
    expect.soft(text.code).toBe(3);
    expect.soft(text.stdout).toMatch(words);
  }
  const inspected = await cliJson("inspect", target);
  expect.soft(inspected.code).toBe(3);
  expect.soft(inspected.json).toMatchObject({ image: null });
}

async function expectNothingPlugged(guest: LabGuest, outside: QemuGuest): Promise<void> {
  const plug = await cli("plug", `qmp:${guest.qmpPath}`, "--memory", "128M");
  expect.soft(plug.code).toBe(3);
  expect.soft(plug.stderr).toMatch(/^Nothing was plugged\. .*\n$/);
  expect.soft(plug.stdout).toBe("");
  expect.soft(await outside.memoryDevices()).toEqual([]);
  expect.soft(await outside.qmp.execute("query-memdev")).toHaveLength(1);
}

describe.skipIf(!lab)("a guest without crash memory", () => {
  let guest: LabGuest;
  let outside: QemuGuest;
  beforeAll(async () => {
    guest = await lab!.boot({ ramMiB: 512, crashkernelMiB: 0 });
    outside = await QemuGuest.open(guest.labQmpPath);
  });
  afterAll(async () => {
    await outside?.close();
    await guest?.[Symbol.asyncDispose]();
  });

  it("is called not loaded, and told to boot with crashkernel=", async () => {
    await expectNotLoaded(guest, /has reserved no crash memory; boot it with crashkernel=/);
    expect(await outside.status()).toBe("running");
  });

  it("gets no DIMM", async () => {
    await expectNothingPlugged(guest, outside);
    expect(await outside.status()).toBe("running");
  });

  it("keeps every byte of its RAM", async () => {
    // What a running guest writes itself cannot be told from what we would write: it stands still for this.
    const token = await outside.pause();
    const before = await hashOfRam(outside);
    await cli("audit", `qmp:${guest.qmpPath}`);
    await cli("keep", "--once", `qmp:${guest.qmpPath}`);
    expect(await hashOfRam(outside)).toBe(before);
    expect(await outside.status()).toBe("paused");
    await outside.resume(token);
    expect(await guest.agent.output("echo alive")).toBe("alive\n");
  });
});

describe.skipIf(!lab)("a guest with crash memory", () => {
  let guest: LabGuest;
  let outside: QemuGuest;
  beforeAll(async () => {
    guest = await lab!.boot();
    outside = await QemuGuest.open(guest.labQmpPath);
  });
  afterAll(async () => {
    await outside?.close();
    await guest?.[Symbol.asyncDispose]();
  });

  it("in which nothing was ever loaded is called not loaded", async () => {
    await expectNotLoaded(guest, /is reserved, but no capture kernel is loaded; load one in the guest/);
    await expectNothingPlugged(guest, outside);
    expect(await outside.status()).toBe("running");
  });

  it("whose image was unloaded is called not loaded, although the image's bytes are still there", async () => {
    const target = `qmp:${guest.qmpPath}`;
    await loadCaptureKernel(guest.agent, { load: "kexec_file_load", acpiNoMemhotplug: true });
    expect((await cliJson("audit", target)).json).toMatchObject({ verdict: "accurate" });
    await guest.agent.output("kexec -p -u && grep -q 0 /sys/kernel/kexec_crash_loaded");
    await expectNotLoaded(guest, /no capture kernel is loaded \(the core header at 0x[0-9a-f]+ is left over/);
    await expectNothingPlugged(guest, outside);
    expect(await outside.status()).toBe("running");
  });

  it("is accurate again once an image is loaded anew", async () => {
    await loadCaptureKernel(guest.agent, { load: "kexec_load", acpiNoMemhotplug: true });
    const { code, json } = await cliJson("audit", `qmp:${guest.qmpPath}`);
    expect(json).toMatchObject({ verdict: "accurate", image: { state: "loaded" } });
    expect(code).toBe(0);
  });
});
