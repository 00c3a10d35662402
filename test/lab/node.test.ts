import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CpioEntry } from "../../src/lab/cpio.ts";
import { nodeEntries } from "../../src/lab/node.ts";

let directory: string;
let entries: readonly CpioEntry[];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdump-hotplug-test-"));
  const hostPath = join(directory, "file");
  await writeFile(hostPath, "a file");
  const supplied = (...paths: readonly string[]) => paths.map((guestPath) => ({ guestPath, hostPath }));
  entries = await nodeEntries({
    version: "20.19.2",
    binary: "/usr/bin/node",
    loader: "/lib64/ld-linux-x86-64.so.2",
    files: supplied("/usr/bin/node", "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"),
    builtins: supplied("/usr/share/nodejs/undici/undici-fetch.js"),
    program: supplied("/opt/kdump-hotplug/dist/cli/main.js"),
  });
});
afterAll(() => rm(directory, { recursive: true, force: true }));

function textOf(name: string): string {
  const entry = entries.find((each) => each.name === name);
  return entry?.kind === "file" ? Buffer.from(entry.data).toString() : "";
}

test("Node lies apart from every other program's libraries; what it reads from fixed places lies there", () => {
  expect(entries.map(({ name }) => name)).toEqual([
    "node/usr/bin/node",
    "node/lib64/ld-linux-x86-64.so.2",
    "node/lib/x86_64-linux-gnu/libc.so.6",
    "usr/bin/node",
    "usr/bin/kdump-hotplug",
    "usr/share/nodejs/undici/undici-fetch.js",
    "opt/kdump-hotplug/dist/cli/main.js",
  ]);
});

test("our program is called by its name, and started by that Node", () => {
  expect(textOf("usr/bin/kdump-hotplug")).toBe(
    '#!/bin/sh\nexec /usr/bin/node /opt/kdump-hotplug/dist/cli/main.js "$@"\n',
  );
  expect(textOf("usr/bin/node")).toMatch(
    /^#!\/bin\/sh\nexec \/node\/lib64\/ld-linux-x86-64\.so\.2 .* \/node\/usr\/bin\/node "\$@"\n$/,
  );
});
