/** Directories that other lab runs have left, or are using. */
import { spawnSync } from "node:child_process";
import { chown, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { removeAbandonedDirectories } from "../../src/lab/guest.ts";
import { ownMark } from "../../src/targets/process-mark.ts";

let parent: string;
beforeAll(async () => {
  parent = await mkdtemp(join(tmpdir(), "abandoned-test-"));
});
afterAll(() => rm(parent, { recursive: true }));

async function make(mark: string): Promise<string> {
  const name = `kdump-hotplug-lab-${mark}-abc123`;
  await mkdir(join(parent, name));
  await writeFile(join(parent, name, "console.log"), "");
  return name;
}

test("only those of our own that a process of this pid namespace left when it ended are removed", async () => {
  const dead = ownMark().replace(/^\d+/, String(spawnSync(process.execPath, ["--version"]).pid));
  const kept = [await make(ownMark()), await make(dead.replace(/\d+$/, "1"))];
  const gone = await make(dead);
  expect(gone).not.toBe(kept[0]);
  await removeAbandonedDirectories(parent);
  expect((await readdir(parent)).sort()).toEqual(kept.toSorted());
});

test.skipIf(process.getuid?.() !== 0)("another user's is left alone, also by root", async () => {
  const dead = ownMark().replace(/^\d+/, String(spawnSync(process.execPath, ["--version"]).pid));
  const theirs = await make(dead);
  await chown(join(parent, theirs), 65_534, 65_534);
  await removeAbandonedDirectories(parent);
  expect(await readdir(parent)).toContain(theirs);
});

test("a directory that cannot be read is no reason to fail", async () => {
  await expect(removeAbandonedDirectories(join(parent, "absent"))).resolves.toBeUndefined();
});
