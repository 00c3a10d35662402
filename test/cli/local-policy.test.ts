/** `audit local --policy`, on a copied tree of a simulated machine with a distribution's rules in it. */
import { chmod } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DEBIAN } from "../../src/rules/policies/debian.ts";
import type { RulePolicy } from "../../src/rules/policies/policy.ts";
import { RHEL7, RHEL8, RHEL_GUARDED } from "../../src/rules/policies/rhel.ts";
import { SUSE } from "../../src/rules/policies/suse.ts";
import { machineOf } from "../simulation/sim.ts";
import { copyMachine, TempTree } from "../targets/local/simulated-tree.ts";
import { ended } from "./ended.ts";

let tree: TempTree;
beforeEach(async () => void (tree = await TempTree.make()));
afterEach(() => tree[Symbol.asyncDispose]());

/** The audit with its policy; the exit code is the audit's own. */
async function audited(spec: string, policy?: RulePolicy, code = 0): Promise<string> {
  await copyMachine(machineOf(spec), tree);
  if (policy) await tree.write(`usr/lib/udev/rules.d/${policy.fileName}`, policy.text);
  const result = await ended("audit", "local", "--root", tree.root, "--policy");
  expect(result).toMatchObject({ code, stderr: "" });
  return result.stdout;
}

describe("audit local --policy says what is done on the next event, by what, and how long it takes", () => {
  test("no rules at all", async () => {
    const text = await audited("6.1");
    expect(text).toContain("no rules in /etc/udev/rules.d, ");
    expect(text).toContain(
      "\n  memory1 add, online, offline, remove; cpu1 add, online, offline, remove\n    Does nothing to kdump.\n",
    );
    expect(text).toMatch(
      /memory comes +the capture kernel stays loaded all the time; a dump lacks it until somebody loads a capture kernel again\n/,
    );
  });

  test("RHEL 7", async () => {
    const text = await audited("6.1", RHEL7);
    expect(text).toContain(
      "\n  memory1 online, offline; cpu1 add, remove\n    Reloads kdump, once for each such",
    );
    expect(text).toContain("By kdumpctl, as RHEL 7's rules do.");
    expect(text).toContain("Only where kdump.service is active, which cannot be told from here.");
    expect(text).toContain("/usr/lib/udev/rules.d/98-kexec.rules:7 RUN /bin/sh -c");
    expect(text).toMatch(
      /memory comes +no dump during one reload \(unload, then load; unmeasured\), once for each memory block of 128 MiB \(for 1 GiB 8 times\); until then a dump lacks it\n/,
    );
    expect(text).toMatch(/one load +unmeasured \(there is no journal in /);
  });

  test("RHEL 8, with the last reload's duration", async () => {
    await tree.write(
      "var/log/messages",
      `2026-01-02T03:04:05.100000+00:00 h kdump-udev-throttler[3]: kexec: unloaded kdump kernel
2026-01-02T03:04:05.712000+00:00 h kdump-udev-throttler[3]: kexec: loaded kdump kernel
`,
    );
    const text = await audited("6.1", RHEL8);
    expect(text).toContain("By kdump-udev-throttler, as the rules of RHEL 8 and 9 and of Fedora do.");
    expect(text).toMatch(
      /memory comes +no dump for 612 ms, one reload \(unload, then load\), once for all that changes together; until then, that is for 1 s to 4 s and the reload, a dump lacks it\n/,
    );
    expect(text).toMatch(
      /one load +612 ms: from "unloaded" to "loaded", by .*\/var\/log\/messages, 2026-01-02T03:04:05/,
    );
  });

  test("RHEL where the service is not active", async () => {
    await tree.write("usr/lib/systemd/system/kdump.service", "[Unit]\n");
    await tree.write("run/systemd/units/invocation:other.service", "");
    const text = await audited("6.1", RHEL8);
    expect(text).toMatch(/kdump service +kdump\.service: not started at boot, not active\n/);
    expect(text).toContain(
      "kdump-udev-throttler is not called: the service that its rule asks for is not active.",
    );
    expect(text).toMatch(/memory comes +the capture kernel stays loaded/);
  });

  test("rules that leave it to a kernel that updates itself", async () => {
    const text = await audited("6.12", RHEL_GUARDED);
    expect(text).toContain("a capture kernel is loaded; crash_hotplug is 1: it updates the header itself\n");
    expect(text).toContain("Does nothing to kdump: the kernel says that it updates the core header itself");
    expect(text).toContain("/usr/lib/udev/rules.d/98-kexec.rules:3 leaves it to the kernel");
    expect(text).toMatch(
      /memory comes +no dump while the kernel rewrites the header .*, once for each memory block/,
    );
    expect(text).toMatch(/memory goes .*until the next event of memory, where the kernel is as 6\.12/);
    expect(text).toContain("note: crash_hotplug reads 0 while an image is being loaded");
  });

  test("Debian, which reloads although the kernel updates itself, from where that cannot work", async () => {
    await tree.write(
      "lib/systemd/system/systemd-udevd.service",
      "[Service]\nSystemCallFilter=@system-service\n",
    );
    const text = await audited("6.12", DEBIAN);
    expect(text).toContain(
      "/usr/lib/udev/rules.d/50-kdump-tools.rules:2 PROGRAM /usr/sbin/kdump-config try-reload",
    );
    expect(text).toContain("note: Kdump is reloaded although the kernel updates the header itself");
    expect(text).toContain("(SystemCallFilter in /lib/systemd/system/systemd-udevd.service:2 has neither");
    expect(text).toMatch(/a CPU comes .*2 times for each CPU\n/);
  });

  test("openSUSE", async () => {
    const text = await audited("6.1", SUSE);
    expect(text).toContain("\n  memory1 add, remove\n    Reloads kdump, one reload at a time");
    expect(text).toMatch(
      /memory comes +no dump during the system call of one load over the loaded image \(unmeasured\), and again while events come in; until then a dump lacks it\n/,
    );
  });

  test("a machine on which nothing is loaded", async () => {
    await copyMachine(machineOf("6.1"), tree);
    await tree.write("sys/kernel/kexec_crash_loaded", "0\n");
    await tree.write("usr/lib/udev/rules.d/50-kdump-tools.rules", DEBIAN.text);
    const { code, stdout: text } = await ended("audit", "local", "--root", tree.root, "--policy");
    expect(code).toBe(3);
    expect(text).toContain("kdump-config is called, and does nothing: nothing is loaded.");
    expect(text).toMatch(
      /memory comes +no dump, before and afterwards: no capture kernel is loaded, and nothing/,
    );
  });

  test("an inaccurate header stays inaccurate, however well the rules serve", async () => {
    const text = await audited("6.12,load=kexec_load,dimm=128M", RHEL_GUARDED, 1);
    // The audit is the same as without, and stands before.
    expect(text.startsWith((await ended("audit", "local", "--root", tree.root)).stdout)).toBe(true);
  });

  test("lines that are not understood, and kdump-hotplug's own rule that is undone", async () => {
    await tree.write("etc/udev/rules.d/99-bad.rules", 'FOO=="x"\n');
    await tree.write(
      "etc/udev/rules.d/98-kexec.rules",
      "# kdump-hotplug: the header is kept true from inside\n",
    );
    const text = await audited("6.1", DEBIAN);
    expect(text).toContain("not understood: /etc/udev/rules.d/99-bad.rules:1 Invalid key 'FOO'.");
    expect(text).toMatch(/kdump-hotplug's rule +\/etc\/udev\/rules\.d\/98-kexec\.rules\n/);
    expect(text).toContain(
      "conflict: kdump-hotplug's own /etc/udev/rules.d/98-kexec.rules is undone by /usr/lib/udev/rules.d/50-kdump-tools.rules:2, which still calls kdump-config at memory1 online, memory1 offline",
    );
  });

  test("a kernel without kexec", async () => {
    await copyMachine(machineOf("6.1"), tree);
    await tree.remove("sys/kernel");
    const { code, stdout } = await ended("audit", "local", "--root", tree.root, "--policy");
    expect(code).toBe(3);
    expect(stdout).toContain("whether a capture kernel is loaded is not known");
    expect(stdout).toMatch(/memory comes +what is loaded stays loaded/);
  });

  test("files of /sys that make no sense", async () => {
    await copyMachine(machineOf("6.1"), tree);
    await tree.write("sys/kernel/kexec_crash_loaded", "perhaps\n");
    const { code, stdout } = await ended("audit", "local", "--root", tree.root, "--policy");
    expect(code).toBe(3);
    expect(stdout).toContain("What would be done on the next event cannot be told: ");
    const json = await ended("audit", "local", "--root", tree.root, "--policy", "--json");
    expect(JSON.parse(json.stdout)).toHaveProperty("policy.unknown");
  });
});

test("a directory that may not be listed loses the policy, and not the audit", async () => {
  await copyMachine(machineOf("6.1"), tree);
  await tree.write("etc/systemd/system/x", "");
  await tree.write("usr/lib/systemd/system/x", "");
  await chmod(tree.root, 0o755);
  await chmod(join(tree.root, "etc/systemd/system"), 0);
  const isRoot = process.geteuid?.() === 0;
  if (isRoot) process.seteuid?.(65_534);
  try {
    const { code, stdout } = await ended("audit", "local", "--root", tree.root, "--policy");
    expect(code).toBe(0);
    expect(stdout).toMatch(/^local: accurate\n/);
    expect(stdout).toMatch(
      /What would be done on the next event cannot be told: EACCES.*etc\/systemd\/system/,
    );
  } finally {
    if (isRoot) process.seteuid?.(0);
    await chmod(join(tree.root, "etc/systemd/system"), 0o755);
  }
});

test("audit local --policy --json", async () => {
  await copyMachine(machineOf("6.1"), tree);
  await tree.write("usr/lib/udev/rules.d/50-kdump-tools.rules", DEBIAN.text);
  const { code, stdout } = await ended("audit", "local", "--root", tree.root, "--policy", "--json");
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    schemaVersion: 1,
    target: "local",
    verdict: "accurate",
    policy: {
      udev: { version: null, readAs: 257 },
      rules: { files: 1 },
      devices: [
        { name: "memory1", present: true },
        { name: "cpu1", present: true },
      ],
      blockBytes: 128 << 20,
      changes: [
        { change: "memory-added", blind: "reload", repeats: "each", times: 1, stale: "until-loaded" },
        { change: "memory-removed" },
        { change: "cpu-added", times: 2 },
        { change: "cpu-removed" },
      ],
      lastLoad: null,
      ownRules: { installed: [], conflicts: [] },
    },
  });
  expect(JSON.parse(stdout)).toHaveProperty("policy.events.1", {
    device: "memory1",
    action: "online",
    kdump: expect.objectContaining({ kind: "reload", blocksWorker: "in-rules" }) as unknown,
    stopped: [],
    dependsOn: [],
    leftToTheKernelBy: [],
    otherPrograms: [],
    assumptions: [],
  });
  expect(
    JSON.parse((await ended("audit", "local", "--root", tree.root, "--json")).stdout),
  ).not.toHaveProperty("policy");
});

test.each([
  ["audit", "sim:6.1", "--policy"],
  ["audit", "qmp:/nowhere", "--policy"],
])("%s %s %s is refused in one sentence", async (...args) => {
  const { code, stdout, stderr } = await ended(...args);
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toContain("--policy is of the machine that this runs in");
});
