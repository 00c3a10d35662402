/** The commands that look at the machine that they run in, on a copied tree of a simulated one. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { machineOf } from "../simulation/sim.ts";
import { copyMachine, TempTree } from "../targets/local/simulated-tree.ts";
import { ended } from "./ended.ts";

let tree: TempTree;
beforeEach(async () => void (tree = await TempTree.make()));
afterEach(() => tree[Symbol.asyncDispose]());

test("audit local says what is missing, what the kernel does about it, and whether it could be repaired", async () => {
  const machine = machineOf("6.12,load=kexec_load,dimm=128M");
  await copyMachine(machine, tree);
  const text = await ended("audit", "local", "--root", tree.root);
  expect(text).toMatchObject({ code: 1, stderr: "" });
  expect(text.stdout).toContain(
    "local: inaccurate\n  A dump would lack 0x100000000-0x108000000 (128 MiB); kdump-hotplug keep local corrects that",
  );
  expect(text.stdout).toMatch(/kept true by the kernel +no, crash_hotplug is 0\n/);
  expect(text.stdout).toMatch(/repair from inside +permitted\n/);
  const { code, stdout } = await ended("audit", "local", "--root", tree.root, "--json");
  expect(code).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({
    schemaVersion: 1,
    target: "local",
    verdict: "inaccurate",
    image: { state: "loaded" },
    memory: { missing: [{ start: "0x100000000", end: "0x108000000", bytes: 128 << 20 }] },
    kdump: {
      crashLoaded: true,
      crashBytes: 16 << 20,
      crashHotplug: { memory: false, cpu: false },
      kexecLoadDisabled: false,
      lockdown: "none",
      repair: { permitted: true, reason: null },
    },
  });
});

test("audit local says that the kernel keeps the header true, and what forbids repair", async () => {
  await copyMachine(machineOf("6.12"), tree);
  await tree.write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
  const { code, stdout } = await ended("audit", "local", "--root", tree.root);
  expect(code).toBe(0);
  expect(stdout).toMatch(/kept true by the kernel +yes, for memory and CPUs \(crash_hotplug is 1\)\n/);
  expect(stdout).toMatch(
    /repair from inside +not permitted: the kernel is locked down \(lockdown=integrity\)/,
  );
});

test("inspect local shows every program header, or says why not", async () => {
  await copyMachine(machineOf("6.1"), tree);
  const { code, stdout } = await ended("inspect", "local", "--root", tree.root, "--json");
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toHaveProperty("image.headers.0.kind", "cpu-note");
  await tree.remove("proc/kcore");
  const without = await ended("inspect", "local", "--root", tree.root);
  expect(without).toMatchObject({ code: 3, stderr: "" });
  expect(without.stdout).toMatch(/^local: It cannot be told .*kcore does not exist/);
});

test.each([
  [["audit", "local", "--root", "/nowhere"], "There is no directory /nowhere"],
  [["audit", "sim:6.1", "--root", "/"], "--root is where the files of the target local are"],
  [["inspect", "some.file", "--root", "/"], "--root is where the files of the target local are"],
  [["keep", "qmp:/nowhere", "--dry-run"], "--dry-run: only for the target local"],
  [["keep", "sim:6.1", "--once", "--kernel", "/vmlinuz"], "--kernel: only for the target local"],
  [["load", "qmp:/nowhere"], "expected local"],
  [["plug", "local", "--memory", "1G"], "only audit, inspect, keep and load are possible"],
])("%j is refused in one sentence", async (args, sentence) => {
  const { code, stdout, stderr } = await ended(...args);
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toContain(sentence);
  expect(stderr.trim().split("\n")).toHaveLength(1);
});
