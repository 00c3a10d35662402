/** Our program and the packages that it needs, as npm lays them out. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ownProgram } from "../../../src/lab/fetch/own-program.ts";

let directory: string;
let root: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdump-hotplug-test-"));
  root = join(directory, "ours");
  await put("ours/dist/cli/main.js", "main");
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function put(path: string, content: unknown): Promise<void> {
  await mkdir(dirname(join(directory, path)), { recursive: true });
  await writeFile(join(directory, path), typeof content === "string" ? content : JSON.stringify(content));
}

/** A package with an index.js. */
async function putPackage(path: string, manifest: object = {}): Promise<void> {
  await put(`${path}/package.json`, manifest);
  await put(`${path}/index.js`, "index");
}

/** Paths in a guest, below our own directory there, each with its path on this machine, below the test's. */
async function taken(): Promise<Readonly<Record<string, string>>> {
  const files = await ownProgram(root);
  return Object.fromEntries(
    files.map(({ guestPath, hostPath }) => [
      guestPath.replace(/^\/opt\/kdump-hotplug\//, ""),
      hostPath.slice(directory.length + 1),
    ]),
  );
}

describe("what a guest gets of our package", () => {
  test("is package.json, dist and the packages that dependencies lead to, and nothing for development", async () => {
    await put("ours/package.json", { dependencies: { a: "1", "@s/b": "1" }, devDependencies: { dev: "1" } });
    await put("ours/src/main.ts", "source");
    await putPackage("ours/node_modules/a", { dependencies: { c: "1" } });
    await putPackage("ours/node_modules/@s/b", { dependencies: { a: "1" } });
    await putPackage("ours/node_modules/c");
    await putPackage("ours/node_modules/dev");
    expect(Object.keys(await taken()).sort()).toEqual([
      "dist/cli/main.js",
      "node_modules/@s/b/index.js",
      "node_modules/@s/b/package.json",
      "node_modules/a/index.js",
      "node_modules/a/package.json",
      "node_modules/c/index.js",
      "node_modules/c/package.json",
      "package.json",
    ]);
  });

  test("has each package's own version of what it depends on", async () => {
    await put("ours/package.json", { dependencies: { a: "1", b: "1" } });
    await putPackage("ours/node_modules/a", { dependencies: { b: "2" } });
    await putPackage("ours/node_modules/a/node_modules/b");
    await putPackage("ours/node_modules/a/node_modules/unused");
    await putPackage("ours/node_modules/b");
    const all = await taken();
    expect(all["node_modules/b/index.js"]).toBe("ours/node_modules/b/index.js");
    expect(all["node_modules/a/node_modules/b/index.js"]).toBe("ours/node_modules/a/node_modules/b/index.js");
    expect(Object.keys(all).join(" ")).not.toContain("unused");
  });

  test("has packages that npm put beside us inside of it: so we lie where somebody else depends on us", async () => {
    root = join(directory, "theirs/node_modules/kdump-hotplug");
    await put("theirs/node_modules/kdump-hotplug/dist/cli/main.js", "main");
    await put("theirs/node_modules/kdump-hotplug/package.json", { dependencies: { a: "1" } });
    await putPackage("theirs/node_modules/a", { dependencies: { b: "1" } });
    await putPackage("theirs/node_modules/b");
    expect(await taken()).toMatchObject({
      "node_modules/a/index.js": "theirs/node_modules/a/index.js",
      "node_modules/b/index.js": "theirs/node_modules/b/index.js",
    });
  });

  test("has what is optional where it is installed, and native files and links to files with it", async () => {
    await put("ours/package.json", {
      dependencies: { n: "1" },
      optionalDependencies: { n: "1", absent: "1" },
    });
    await putPackage("ours/node_modules/n", { optionalDependencies: { "n-linux": "1", "n-other": "1" } });
    await putPackage("ours/node_modules/n-linux");
    await put("ours/node_modules/n-linux/build/n.node", "native");
    await symlink("index.js", join(root, "node_modules/n-linux/link.js"));
    const all = await taken();
    expect(all["node_modules/n-linux/build/n.node"]).toBe("ours/node_modules/n-linux/build/n.node");
    expect(all["node_modules/n-linux/link.js"]).toBe("ours/node_modules/n-linux/index.js");
    expect(Object.keys(all).join(" ")).not.toMatch(/absent|other/);
  });
});

describe("a program that cannot be taken", () => {
  test("because it is not built says what builds it", async () => {
    await rm(join(root, "dist"), { recursive: true });
    await expect(ownProgram(root)).rejects.toThrow(/no .*dist\/cli\/main\.js, .*: run "npm run build"$/);
  });

  test("because a package is not installed says which, and who wants it", async () => {
    await put("ours/package.json", { dependencies: { a: "1" } });
    await putPackage("ours/node_modules/a", { dependencies: { missing: "1" } });
    await expect(ownProgram(root)).rejects.toThrow(
      /a\/package\.json wants the package "missing", which is not installed: run "npm ci"$/,
    );
  });
});
