/** What is said of a domain that cannot be opened, and of domains that cannot be listed. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";

import { exitOfError } from "../../../src/cli/exit.ts";
import { meaningOf } from "../../../src/targets/libvirt/error.ts";
import { listRunningDomains } from "../../../src/targets/libvirt/list.ts";
import { openLibvirtMachine } from "../../../src/targets/libvirt/machine.ts";
import { LibvirtSession } from "../../../src/targets/libvirt/session.ts";
import { type Answer, type FakeLibvirt, type FakeLibvirtOptions, startFakeLibvirt } from "./fake-libvirt.ts";
import { failure } from "../failure.ts";

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

async function fakeOf(options: FakeLibvirtOptions = {}): Promise<FakeLibvirt> {
  const fake = await startFakeLibvirt(options);
  cleanUps.push(fake.stop);
  return fake;
}

const saying = (said: Answer) => ({ answer: (): Answer => said });

const AWAY =
  "failed to connect to the hypervisor: Failed to connect socket to '/var/run/libvirt/libvirt-sock'";

describe("opening a domain", () => {
  it.each([
    ["absent", 2, {}, "other", `libvirt has no domain "other" (virsh says: failed to get domain 'other'): `],
    [
      "not-qemu",
      2,
      { uri: "test:///default" },
      "guest",
      "These guests are not QEMU's (virsh says: its URI is test:",
    ],
    [
      "remote",
      2,
      { uri: "qemu+ssh://host/system" },
      "guest",
      "libvirt is on another host (virsh says: its URI is ",
    ],
    ["remote", 2, { uri: "qemu://host/system" }, "guest", "libvirt is on another host"],
    [
      "away",
      3,
      { answer: () => ({ error: `${AWAY}: No such file or directory` }) },
      "guest",
      "No libvirt answers (virsh says: ",
    ],
    ["away", 3, { answer: () => ({ error: `${AWAY}: Connection refused` }) }, "guest", "No libvirt answers"],
    [
      "denied",
      3,
      { answer: () => ({ error: `${AWAY}: Permission denied` }) },
      "guest",
      "libvirt does not let this user in",
    ],
    [
      "denied",
      3,
      saying({ error: "authentication unavailable: no polkit agent available" }),
      "guest",
      "libvirt does not let this user in",
    ],
    ["silent", 3, saying("silence"), "guest", "libvirt accepts the connection and does not answer"],
  ] as const)("says %s (exit code %i)", async (kind, code, options, domain, words) => {
    const fake = await fakeOf(options);
    const error = await failure(
      LibvirtSession.open(domain, { env: fake.env, timeoutMs: kind === "silent" ? 300 : 5000 }),
    );
    expect(error).toMatchObject({ name: "LibvirtError", kind });
    expect(error.message).toContain(words);
    expect(error.message).not.toContain("\n");
    expect(exitOfError(error)).toBe(code);
    // Nothing asked QEMU for anything.
    expect(fake.guest.log).toEqual([]);
  });

  it("says that the domain does not run, and that libvirt did not take a listener", async () => {
    const fake = await fakeOf();
    fake.shutDown();
    expect(await failure(LibvirtSession.open("guest", { env: fake.env }))).toMatchObject({
      kind: "not-running",
      message: 'Domain "guest" does not run: start it first',
    });
    let names = 0;
    const deaf = await fakeOf({
      // The second one is that of the virsh which listens.
      answer: (words) => (words[0] === "domname" && ++names === 2 ? "silence" : undefined),
    });
    const error = await failure(LibvirtSession.open("guest", { env: deaf.env, timeoutMs: 5000 }));
    expect(error).toMatchObject({ kind: "silent" });
    expect(error.message).toContain("as a listener for events within 5000 ms");
  });

  it("says that there is no virsh", async () => {
    const directory = await mkdtemp(join(tmpdir(), "kdh-test-"));
    cleanUps.push(async () => await rm(directory, { recursive: true }));
    const env = { ...process.env, PATH: directory };
    for (const wanted of [LibvirtSession.open("guest", { env }), listRunningDomains(undefined, { env })]) {
      const error = await failure(wanted);
      expect(error).toMatchObject({ kind: "no-virsh" });
      expect(error.message).toMatch(/^There is no virsh in PATH: install libvirt's clients/);
    }
  });

  it("ends by its signal", async () => {
    const fake = await fakeOf(saying("silence"));
    const stop = new AbortController();
    const opening = failure(LibvirtSession.open("guest", { env: fake.env, signal: stop.signal }));
    const reason = new Error("enough");
    setTimeout(() => stop.abort(reason), 100);
    expect(await opening).toBe(reason);
  });

  it("refuses a guest with encrypted memory, and lets go of it", async () => {
    const fake = await fakeOf({
      guest: { handlers: { "query-sev": () => ({ enabled: true, state: "running" }) } },
    });
    const error = await failure(openLibvirtMachine("guest", { env: fake.env }));
    expect(error).toMatchObject({ name: "EncryptedMemoryError" });
    expect(error.message).toContain("AMD SEV, as query-sev says");
    expect(fake.guest.state.running).toBe(true);
  });
});

describe("listing domains", () => {
  it("names those that run", async () => {
    const fake = await fakeOf({ name: "a guest" });
    expect(await listRunningDomains(undefined, { env: fake.env })).toEqual(["a guest"]);
    expect(fake.calls).toEqual([["list", "--name", "--state-running", "--state-paused"]]);
    fake.shutDown();
    expect(await listRunningDomains(undefined, { env: fake.env })).toEqual([]);
  });

  it.each([
    ["away", `${AWAY}: Connection refused`],
    ["denied", "access denied"],
  ])("says %s", async (kind, error) => {
    const fake = await fakeOf(saying({ error }));
    expect(await failure(listRunningDomains(undefined, { env: fake.env }))).toMatchObject({ kind });
  });

  it("kills a virsh that hangs, after its limit or by its signal", async () => {
    const fake = await fakeOf(saying("silence"));
    const error = await failure(listRunningDomains(undefined, { env: fake.env, timeoutMs: 300 }));
    expect(error).toMatchObject({ kind: "silent" });
    const reason = new Error("enough");
    const listing = failure(
      listRunningDomains(AbortSignal.any([abortAfter(300, reason)]), { env: fake.env }),
    );
    expect(await listing).toBe(reason);
    for (const { pid } of fake.virshes) expect(() => process.kill(pid, 0)).toThrow("ESRCH");
  });
});

function abortAfter(ms: number, reason: Error): AbortSignal {
  const controller = new AbortController();
  setTimeout(() => controller.abort(reason), ms);
  return controller.signal;
}

it("knows what libvirt's words mean, and admits where it does not", () => {
  expect(meaningOf("Requested operation is not valid: domain is not running")).toBe("not-running");
  expect(meaningOf("failed to get domain '3': Domain not found: no domain with matching id 3")).toBe(
    "absent",
  );
  expect(meaningOf("failed to get domain '3': Cannot recv data: Connection reset by peer")).toBe("away");
  expect(meaningOf("Disconnected from qemu:///session due to end of file")).toBe("away");
  expect(
    meaningOf("this function is not supported by the connection driver: virDomainQemuMonitorCommand"),
  ).toBe("not-qemu");
  expect(meaningOf("Timed out during operation: cannot acquire state change lock")).toBeUndefined();
});
