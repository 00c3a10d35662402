import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { UdevSupply } from "../../src/lab/fetch/udev.ts";
import { udevEntries } from "../../src/lab/udev.ts";

let directory: string;
let supply: UdevSupply;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdump-hotplug-test-"));
  const hostPath = join(directory, "file");
  await writeFile(hostPath, "a file");
  const paths = [
    "/bin/udevadm",
    "/lib/systemd/systemd-udevd",
    "/usr/bin/flock",
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-257.so",
  ];
  supply = {
    suite: "trixie",
    version: "257",
    files: paths.map((guestPath) => ({ guestPath, hostPath })),
    programs: { udevadm: paths[0]!, "systemd-udevd": paths[1]!, flock: paths[2]! },
    loader: paths[3]!,
  };
});
afterAll(() => rm(directory, { recursive: true, force: true }));

test("udev lies apart from every other program's libraries, and is called where Debian has it", async () => {
  const entries = await udevEntries(supply);
  expect(entries.map(({ name }) => name)).toEqual([
    ...supply.files.map(({ guestPath }) => `udev${guestPath}`),
    "usr/lib/systemd/systemd-udevd",
    "usr/bin/udevadm",
    "usr/bin/flock",
  ]);
});

test("a call starts the program under its own name, with udev's own loader and libraries", async () => {
  const entry = (await udevEntries(supply)).find(({ name }) => name === "usr/lib/systemd/systemd-udevd");
  expect(entry?.kind === "file" && Buffer.from(entry.data).toString()).toBe(
    '#!/bin/sh\nexec /udev/lib64/ld-linux-x86-64.so.2 --inhibit-cache --library-path /udev/lib/x86_64-linux-gnu:/udev/usr/lib/x86_64-linux-gnu/systemd /udev/lib/systemd/systemd-udevd "$@"\n',
  );
});
