/** Where the cost of the last load is looked for, and what is said where nothing tells it. */
import { mkdir, symlink } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type AskJournal, findLoadCost } from "../../../src/targets/local/load-cost.ts";
import { RootTree } from "../../../src/targets/local/tree.ts";
import { TempTree } from "./simulated-tree.ts";

let temp: TempTree;
let tree: RootTree;

beforeEach(async () => {
  temp = await TempTree.make();
  tree = new RootTree(temp.root);
});
afterEach(() => temp[Symbol.asyncDispose]());

const SILENT: AskJournal = async () => ({ failed: "nobody was asked" });

async function link(target: string, path: string): Promise<void> {
  await mkdir(join(temp.root, path, ".."), { recursive: true });
  await symlink(target, join(temp.root, path));
}

describe("the cost of a load", () => {
  const RELOAD = [
    '{"__MONOTONIC_TIMESTAMP":"1000000","__REALTIME_TIMESTAMP":"1000000","MESSAGE":"unloaded kdump kernel"}',
    '{"__MONOTONIC_TIMESTAMP":"1500000","__REALTIME_TIMESTAMP":"1500000","MESSAGE":"loaded kdump kernel"}',
  ].join("\n");

  test("is the journal's, which is asked for the copy's own files", async () => {
    await temp.write("var/log/journal/x", "");
    const asked: (readonly string[])[] = [];
    const { span } = await findLoadCost(tree, async (args) => {
      asked.push(args);
      return RELOAD;
    });
    expect(span).toMatchObject({
      what: "reload",
      ms: 500,
      source: `journalctl --directory=${temp.root}/var/log/journal`,
    });
    expect(asked).toHaveLength(1);
    expect(asked[0]).toContain("UNIT=kdump-tools.service");
  });

  test("is asked of this machine's journal where it is this machine", async () => {
    const asked: (readonly string[])[] = [];
    await findLoadCost(new RootTree(temp.root, true), async (args) => {
      asked.push(args);
      return "";
    });
    expect(asked.flat().filter((arg) => arg.startsWith("--directory"))).toEqual([]);
  });

  test("is a file's where the journal has no reload", async () => {
    await temp.write(
      "var/log/messages",
      "Feb 27 18:47:29 h kdumpctl[1]: kexec: unloaded kdump kernel\nFeb 27 18:47:31 h kdumpctl[1]: kexec: loaded kdump kernel\n",
    );
    expect(await findLoadCost(tree, SILENT)).toMatchObject({
      span: { what: "reload", ms: 2000, resolutionMs: 1000, source: `${temp.root}/var/log/messages` },
      reasons: [],
    });
  });

  test("is read from the end of a large file", async () => {
    const filler = "Feb 27 18:00:00 h other[1]: nothing\n".repeat(150_000);
    await temp.write(
      "var/log/syslog",
      `${filler}Feb 27 18:47:29 h kdump-config: unloaded kdump kernel\nFeb 27 18:47:30 h kdump-config: loaded kdump kernel\n`,
    );
    expect((await findLoadCost(tree, SILENT)).span?.ms).toBe(1000);
  });

  test("is not known where nothing tells, and why is said", async () => {
    await temp.write("var/log/journal/x", "");
    await temp.write("var/log/syslog", "Feb 27 18:00:00 h other[1]: nothing\n");
    await temp.write("var/log/messages/x", "a directory");
    await temp.write("etc/default/kdump-tools", "USE_KDUMP=1\nKDUMP_KERNEL=/boot/vmlinuz-k\n");
    await temp.write("boot/vmlinuz-k", new Uint8Array(5000));
    const { span, files, reasons } = await findLoadCost(tree, SILENT);
    expect(span).toBeUndefined();
    expect(files).toEqual([{ path: "/boot/vmlinuz-k", bytes: 5000 }]);
    expect(reasons).toHaveLength(3);
    expect(reasons[0]).toBe("nobody was asked");
    expect(reasons[1]).toContain("/var/log/messages is no regular file");
    expect(reasons[2]).toBe(`${temp.root}/var/log/syslog tell of none`);
  });

  test("by this machine's journalctl, of a directory that has no journal, is nothing", async () => {
    await temp.write("var/log/journal/x", "");
    const { span, reasons } = await findLoadCost(tree);
    expect(span).toBeUndefined();
    expect(reasons.join()).toMatch(/journal/);
  });

  test("openSUSE's files are those that its links lead to", async () => {
    await temp.write("boot/vmlinuz-s", "1234");
    await link("../../../boot/vmlinuz-s", "var/lib/kdump/kernel");
    expect((await findLoadCost(tree, SILENT)).files).toEqual([{ path: "/var/lib/kdump/kernel", bytes: 4 }]);
  });
});
