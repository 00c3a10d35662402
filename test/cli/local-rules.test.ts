/** `keep local --install` and `--uninstall`, on a copied tree with a distribution's rules in it. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DEBIAN } from "../../src/rules/policies/debian.ts";
import { RHEL7, RHEL8, RHEL_GUARDED } from "../../src/rules/policies/rhel.ts";
import { SUSE } from "../../src/rules/policies/suse.ts";
import { machineOf } from "../simulation/sim.ts";
import { copyMachine, TempTree } from "../targets/local/simulated-tree.ts";
import { type Ended, ended } from "./ended.ts";

let tree: TempTree;
beforeEach(async () => {
  tree = await TempTree.make();
  await copyMachine(machineOf("6.1"), tree);
});
afterEach(() => tree[Symbol.asyncDispose]());

/** Of the tree. */
const endedHere = async (...args: readonly string[]): Promise<Ended> =>
  await ended(...args, "--root", tree.root);

const ours = async (): Promise<readonly string[]> =>
  await readdir(join(tree.root, "etc/udev/rules.d")).catch(() => []);

const policy = async (): Promise<string> => (await endedHere("audit", "local", "--policy")).stdout;

describe.each([RHEL7, RHEL8, RHEL_GUARDED, DEBIAN, SUSE])("the rules of $name", ({ fileName, text }) => {
  test("are overridden by a copy that does nothing to kdump, and are back when that is taken away", async () => {
    await tree.write(`usr/lib/udev/rules.d/${fileName}`, text);
    const before = await policy();
    expect(before).toMatch(/Reloads kdump/);

    expect(await endedHere("keep", "local", "--install", "--dry-run")).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^would write /) as unknown,
    });
    expect(await ours()).toEqual([]);

    expect(await endedHere("keep", "local", "--install")).toMatchObject({ code: 0, stderr: "" });
    expect(await ours()).toEqual([fileName]);
    expect(await policy()).not.toMatch(/Reloads kdump/);
    // Nothing of it is lost.
    const copy = await readFile(join(tree.root, "etc/udev/rules.d", fileName), "utf8");
    const uncommented = copy.replaceAll(/^# (?=\S)/gm, "").replaceAll("\\\n", "\n");
    for (const line of text.split("\n")) expect(uncommented).toContain(line.replace(/^# |\\$/g, ""));
    // Once more is no change.
    expect(await endedHere("keep", "local", "--install")).toMatchObject({
      code: 0,
      stdout: "No rule reloads kdump: there is nothing to override\n",
    });

    expect(await endedHere("keep", "local", "--uninstall")).toMatchObject({
      code: 0,
      stdout: `removed /etc/udev/rules.d/${fileName}\n`,
    });
    expect(await policy()).toBe(before);
  });
});

test("rules that the administrator wrote are theirs", async () => {
  await tree.write(`etc/udev/rules.d/${RHEL7.fileName}`, RHEL7.text);
  const { code, stderr } = await endedHere("keep", "local", "--install");
  expect(code).toBe(3);
  expect(stderr).toMatch(/etc\/udev\/rules\.d\/98-kexec\.rules skip kdump .* by hand/);
  expect(await endedHere("keep", "local", "--uninstall")).toMatchObject({
    code: 0,
    stdout: "No rules of kdump-hotplug were there\n",
  });
  expect(await ours()).toEqual([RHEL7.fileName]);
});

test("a machine without such rules needs nothing", async () => {
  expect(await endedHere("keep", "local", "--install")).toMatchObject({ code: 0 });
  expect(await ours()).toEqual([]);
});

test("a continued line is taken out as a whole", async () => {
  const rule = 'SUBSYSTEM=="memory", ACTION=="online", \\\n  RUN+="/usr/bin/kdumpctl restart"\n';
  await tree.write("usr/lib/udev/rules.d/98-kexec.rules", `KERNEL=="x", TAG+="y"\n${rule}LABEL="end"\n`);
  const { stdout } = await endedHere("keep", "local", "--install");
  expect(stdout).toMatch(/\(line 2, 3\)/);
  const copy = await readFile(join(tree.root, "etc/udev/rules.d/98-kexec.rules"), "utf8");
  expect(copy.split("\n").filter((line) => line !== "" && !line.startsWith("#"))).toEqual([
    'KERNEL=="x", TAG+="y"',
    'LABEL="end"',
  ]);
});
