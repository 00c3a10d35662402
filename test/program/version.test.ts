/** `--version`: which commit a program was built from, as scripts/build-info.mjs finds out. */
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { versionText } from "../../src/cli/build-info.ts";

const SOURCE = fileURLToPath(new URL("../../", import.meta.url));
const run = promisify(execFile);

let directory = "";
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdh-version-"));
  await sources(directory);
});
afterEach(() => rm(directory, { recursive: true, force: true }));

/** As much of the sources as the script looks at. */
async function sources(root: string): Promise<void> {
  for (const path of ["scripts", "src", "dist"]) await mkdir(join(root, path), { recursive: true });
  await writeFile(join(root, "package.json"), '{ "version": "1.2.3" }\n');
  await writeFile(join(root, "src/main.ts"), "");
  for (const name of ["build-info.mjs", "commit.txt"])
    await cp(join(SOURCE, "scripts", name), join(root, "scripts", name));
  await cp(join(SOURCE, ".gitattributes"), join(root, ".gitattributes"));
  await writeFile(join(root, ".gitignore"), "dist\n");
}

async function git(root: string, ...args: readonly string[]): Promise<string> {
  const name = ["-c", "user.name=x", "-c", "user.email=x@localhost", "-c", "commit.gpgsign=false"];
  const { stdout } = await run("git", ["-C", root, ...name, ...args]);
  return stdout.trim();
}

async function commitAll(root: string): Promise<string> {
  await git(root, "init", "--quiet");
  await git(root, "add", ".");
  await git(root, "commit", "--quiet", "--message", "x");
  return await git(root, "rev-parse", "HEAD");
}

async function builtFrom(root: string): Promise<unknown> {
  await run(process.execPath, [join(root, "scripts/build-info.mjs")]);
  return JSON.parse(await readFile(join(root, "dist/build.json"), "utf8"));
}

describe("the commit of a build", () => {
  test("is git's, and what is not committed is told", async () => {
    const hash = await commitAll(directory);
    expect(await builtFrom(directory)).toEqual({
      version: "1.2.3",
      commit: hash,
      time: expect.any(Number),
      modified: false,
    });
    await writeFile(join(directory, "guest.img"), "not a source");
    expect(await builtFrom(directory)).toMatchObject({ modified: false });
    await writeFile(join(directory, "src/new.ts"), "");
    expect(await builtFrom(directory)).toEqual({
      version: "1.2.3",
      commit: hash,
      time: expect.any(Number),
      modified: true,
    });
  });

  test("comes with sources that git has exported", async () => {
    const hash = await commitAll(directory);
    const exported = join(directory, "dist/exported");
    await mkdir(join(exported, "dist"), { recursive: true });
    await git(directory, "archive", "--output", join(directory, "dist/x.tar"), "HEAD");
    await run("tar", ["-xf", join(directory, "dist/x.tar"), "-C", exported]);
    // It lies inside of a repository which is another one.
    await writeFile(join(directory, "src/new.ts"), "");
    const time = Number(await git(directory, "log", "-1", "--format=%ct"));
    expect(await builtFrom(exported)).toEqual({ version: "1.2.3", commit: hash, time, modified: false });
  });

  test("is unknown where nobody wrote it down", async () => {
    expect(await builtFrom(directory)).toEqual({ version: "1.2.3", modified: false });
  });
});

describe("what is shown", () => {
  const commit = "0123456789abcdef0123456789abcdef01234567";
  test.each([
    [{ commit, modified: false }, "1.2.3 (commit 0123456789ab)"],
    [{ commit, modified: true }, "1.2.3 (commit 0123456789ab, with changes that are not committed)"],
    [{ commit: undefined, modified: false }, "1.2.3 (commit unknown)"],
  ])("of %j is %s", (build, text) => {
    expect(versionText({ version: "1.2.3", ...build })).toBe(text);
  });

  test("the built program shows what was written when it was built", async () => {
    const build: unknown = JSON.parse(await readFile(join(SOURCE, "dist/build.json"), "utf8"));
    const { stdout } = await run(process.execPath, [join(SOURCE, "dist/cli/main.js"), "--version"]);
    expect(build).toMatchObject({ version: expect.any(String) });
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- its form was checked by what wrote it
    expect(stdout).toBe(`${versionText(build as Parameters<typeof versionText>[0])}\n`);
  });
});
