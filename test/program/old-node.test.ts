/** A Node that is too old, as Debian 12 has it: said in one line, by the program, by the one file and by make. */
import { execFile } from "node:child_process";
import { chmod, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Ended } from "../cli/ended.ts";

const SOURCE = fileURLToPath(new URL("../../", import.meta.url));
const run = promisify(execFile);

async function ended(command: string, args: readonly string[], env = process.env): Promise<Ended> {
  return await run(command, args, { cwd: SOURCE, env }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: Ended) => ({ code: error.code, stdout: error.stdout, stderr: error.stderr }),
  );
}

let directory = "";
/** Makes this Node call itself an older one. */
let older = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdh-old-node-"));
  older = join(directory, "older.mjs");
  await writeFile(
    older,
    'Object.defineProperty(process, "versions", { value: { ...process.versions, node: "18.20.4" } });\n',
  );
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const REFUSED = {
  code: 3,
  stdout: "",
  stderr:
    "This is Node 18.20.4, and kdump-hotplug needs 20.19 or newer: Debian 13 has it (apt-get install nodejs), for Debian 12 take it from nodejs.org\n",
};

test("the program", async () => {
  const main = join(SOURCE, "dist/cli/main.js");
  expect(await ended(process.execPath, ["--import", older, main, "audit", "sim:6.1"])).toEqual(REFUSED);
  // The same lines let this Node pass.
  expect(await ended(process.execPath, [main, "--version"])).toMatchObject({ code: 0 });
});

test("the one file", async () => {
  const file = join(directory, "kdump-hotplug.mjs");
  await run(process.execPath, [join(SOURCE, "scripts/bundle.mjs"), file]);
  expect(await ended(process.execPath, ["--import", older, file, "audit", "sim:6.1"])).toEqual(REFUSED);
}, 60_000);

/** Make with nothing in PATH but what is given: programs of this machine, and scripts. */
async function make(programs: Readonly<Record<string, string>>): Promise<Ended> {
  const bin = await mkdtemp(join(directory, "bin-"));
  for (const [name, script] of Object.entries(programs)) {
    await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`);
    await chmod(join(bin, name), 0o755);
  }
  await symlink("/bin/sh", join(bin, "sh"));
  return await ended("/usr/bin/make", ["--no-print-directory", "node"], { PATH: bin });
}

/** Node, of the version that it says, and under that version's name. */
const node = (args: string, version: string): string =>
  `[ "$1" = --version ] && { echo ${version}; exit; }\nexec ${process.execPath} ${args} "$@"`;

test("make, before it installs anything", async () => {
  const npm = "exit 1";
  const wanted = "Node 20.19 or newer with npm is needed: on Debian 13 apt-get install nodejs npm gives it";
  expect(await make({ npm })).toMatchObject({
    code: 2,
    stderr: expect.stringContaining(`node was not found. ${wanted}`),
  });
  expect(await make({ node: node("", process.version) })).toMatchObject({
    code: 2,
    stderr: expect.stringContaining(`npm was not found. ${wanted}`),
  });
  expect(await make({ npm, node: node(`--import ${older}`, "v18.20.4") })).toMatchObject({
    code: 2,
    stderr: expect.stringContaining(`This is Node v18.20.4. ${wanted}`),
  });
  expect(await make({ npm, node: node("", process.version) })).toMatchObject({ code: 0, stderr: "" });
});
