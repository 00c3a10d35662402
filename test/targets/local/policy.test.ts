/** The policy of machines whose files were copied: what is found where, and what is said where nothing is. */
import { chmod, mkdir, symlink } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { judge } from "../../../src/keeper/audit.ts";
import { RangeSet } from "../../../src/layout/range-set.ts";
import { DEBIAN } from "../../../src/rules/policies/debian.ts";
import { RHEL8 } from "../../../src/rules/policies/rhel.ts";
import { SUSE } from "../../../src/rules/policies/suse.ts";
import { readInstalledRules } from "../../../src/targets/local/installed-rules.ts";
import type { AskJournal } from "../../../src/targets/local/load-cost.ts";
import { auditPolicy, type LocalPolicy } from "../../../src/targets/local/policy.ts";
import { RootTree } from "../../../src/targets/local/tree.ts";
import { TempTree } from "./simulated-tree.ts";

let temp: TempTree;
let tree: RootTree;

beforeEach(async () => {
  temp = await TempTree.make();
  tree = new RootTree(temp.root);
});
afterEach(() => temp[Symbol.asyncDispose]());

const UNKNOWN = judge(
  { found: "unknown", reason: "" },
  { backed: RangeSet.empty, devices: [], cpus: [], canGrow: undefined },
);
const SILENT: AskJournal = async () => ({ failed: "nobody was asked" });

async function policy(ask: AskJournal = SILENT): Promise<LocalPolicy> {
  return await auditPolicy(tree, UNKNOWN, ask);
}

async function link(target: string, path: string): Promise<void> {
  await mkdir(join(temp.root, path, ".."), { recursive: true });
  await symlink(target, join(temp.root, path));
}

/** `online`, `cpu add`: where something is done to kdump. */
function acting({ forecasts }: LocalPolicy): readonly string[] {
  return forecasts.flatMap(({ device, action, effect }) =>
    effect.commands.length > 0 ? [`${device.name} ${action}`] : [],
  );
}

/** Does `work` as a user who may do nothing, where this is root. */
async function asNobody<T>(work: () => Promise<T>): Promise<T> {
  if (process.geteuid?.() !== 0) return await work();
  process.seteuid?.(65_534);
  try {
    return await work();
  } finally {
    process.seteuid?.(0);
  }
}

describe("a machine's policy", () => {
  test("of an empty tree: nothing is there, and that is said", async () => {
    const found = await policy();
    expect(found).toMatchObject({
      udev: { version: undefined, dialect: { version: 257 } },
      sources: [],
      services: [],
      blockSize: undefined,
      cost: { span: undefined, files: [] },
      ownRules: { installed: [], conflicts: [] },
      notUnderstood: [],
      unread: [],
    });
    expect(found.devices.map(({ name, isPresent }) => [name, isPresent])).toEqual([
      ["memory40", false],
      ["cpu3", false],
    ]);
    expect(acting(found)).toEqual([]);
    expect(found.cost.reasons).toEqual([
      `there is no journal in ${temp.root}/var/log/journal or ${temp.root}/run/log/journal`,
    ]);
  });

  test("names rules that are not understood, and what is not read, and goes by the rest", async () => {
    await temp.write("sys/kernel/kexec_crash_loaded", "1\n");
    await temp.write("usr/lib/udev/rules.d/50-kdump-tools.rules", DEBIAN.text);
    await temp.write("etc/udev/rules.d/60-bad.rules", 'FOO=="x"\nSUBSYSTEM=="memory", GOTO="nowhere"\n');
    await temp.write("etc/udev/rules.d/61-binary.rules", "a\0");
    await link("/etc/udev/rules.d/62-loop.rules", "etc/udev/rules.d/62-loop.rules");
    await mkdir(join(temp.root, "etc/udev/rules.d/63-directory.rules"));
    const found = await policy();
    expect(found.notUnderstood).toMatchObject([
      { path: "/etc/udev/rules.d/60-bad.rules", line: 1 },
      { path: "/etc/udev/rules.d/60-bad.rules", line: 2 },
      { path: "/etc/udev/rules.d/60-bad.rules", line: 2 },
    ]);
    expect(found.unread).toEqual([
      "Cannot read rules: /etc/udev/rules.d/62-loop.rules leads through too many links",
      "Cannot read rules: /etc/udev/rules.d/61-binary.rules:1 has a zero byte, expected text",
      "Cannot read rules: /etc/udev/rules.d/63-directory.rules is no regular file",
    ]);
    expect(acting(found)).toHaveLength(5);
  });

  test("as somebody who is not root: what may not be read is named", async () => {
    await temp.write("sys/kernel/kexec_crash_loaded", "1\n");
    await temp.write("usr/lib/udev/rules.d/50-kdump-tools.rules", DEBIAN.text);
    await temp.write("etc/udev/rules.d/98-secret.rules", RHEL8.text);
    await temp.write("run/udev/rules.d/x.rules", "");
    await temp.write("var/log/syslog", "");
    await temp.write("etc/default/kdump-tools", "USE_KDUMP=1\n");
    await temp.write("boot/vmlinuz", "");
    await chmod(temp.root, 0o755);
    for (const path of ["etc/udev/rules.d/98-secret.rules", "run/udev/rules.d", "var/log/syslog", "boot"])
      await chmod(join(temp.root, path), 0);
    const found = await asNobody(policy);
    expect(found.unread).toEqual([
      "Cannot read rules: /run/udev/rules.d may not be read: run this as root",
      "Cannot read rules: /etc/udev/rules.d/98-secret.rules may not be read: run this as root",
    ]);
    expect(found.cost.reasons).toContain(`${temp.root}/var/log/syslog may not be read by this user`);
    expect(acting(found)).toHaveLength(5);
    await chmod(join(temp.root, "run/udev/rules.d"), 0o755);
  });

  test("tells rules what the machine's files say: openSUSE's ask whether something is loaded", async () => {
    await temp.write("usr/lib/udev/rules.d/70-kdump.rules", SUSE.text);
    await temp.write("sys/kernel/kexec_crash_loaded", "1\n");
    expect(acting(await policy())).toEqual(["memory40 add", "memory40 remove"]);
    await temp.write("sys/kernel/kexec_crash_loaded", "0\n");
    expect(acting(await policy())).toEqual([]);
  });

  test("says what a mask hides, and what a file of the same name replaces", async () => {
    await temp.write("usr/lib/udev/rules.d/98-kexec.rules", RHEL8.text);
    await temp.write("usr/lib/udev/rules.d/10-other.rules", 'KERNEL=="x", RUN+="/bin/true"\n');
    await temp.write("etc/udev/rules.d/10-other.rules", 'KERNEL=="y", RUN+="/bin/true"\n');
    await link("/dev/null", "etc/udev/rules.d/98-kexec.rules");
    const found = await policy();
    expect(found.replaced).toEqual([
      { path: "/usr/lib/udev/rules.d/98-kexec.rules", by: "/etc/udev/rules.d/98-kexec.rules" },
    ]);
    expect(acting(found)).toEqual([]);
  });

  test("names programs that are not there, of a whole system only", async () => {
    await temp.write("sys/kernel/kexec_crash_loaded", "1\n");
    await temp.write("usr/lib/udev/rules.d/50-kdump-tools.rules", DEBIAN.text);
    expect((await policy()).missingPrograms).toEqual([]);
    await temp.write("usr/bin/udevadm", "");
    expect((await policy()).missingPrograms).toEqual(["/usr/sbin/kdump-config"]);
    await temp.write("usr/sbin/kdump-config", "");
    expect((await policy()).missingPrograms).toEqual([]);
  });
});

test("rules behind a link from /lib to /usr/lib hide nothing", async () => {
  await temp.write("usr/lib/udev/rules.d/98-kexec.rules", RHEL8.text);
  await symlink("usr/lib", join(temp.root, "lib"));
  const { sources, hidden } = await readInstalledRules(
    ["/usr/lib/udev/rules.d", "/lib/udev/rules.d"],
    temp.root,
  );
  expect(sources).toHaveLength(1);
  expect(hidden).toEqual([]);
});
