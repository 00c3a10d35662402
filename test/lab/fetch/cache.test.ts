import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { cacheTrouble, openCache, type CacheEntry, type SupplyCache } from "../../../src/lab/fetch/cache.ts";
import { FetchError } from "../../../src/lab/fetch/errors.ts";

let directory: string;
let lines: string[];
let cache: SupplyCache;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdump-hotplug-test-"));
  lines = [];
  cache = await openCache(join(directory, "cache"), (line) => lines.push(line));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function make(content: string): Promise<string> {
  const path = join(await cache.workDirectory(), "entry");
  await mkdir(join(path, "sub"), { recursive: true });
  await writeFile(join(path, "one"), content);
  await writeFile(join(path, "sub", "two"), "2");
  await symlink("one", join(path, "link"));
  return path;
}

async function publish(content: string): Promise<CacheEntry> {
  return cache.publish("thing", await make(content), { package: "p", version: "1", facts: { release: "r" } });
}

describe("the cache", () => {
  test("gives back what was published, with the SHA-256 of every regular file", async () => {
    const entry = await publish("1");
    expect(entry).toEqual({
      directory: join(directory, "cache", "thing"),
      package: "p",
      version: "1",
      facts: { release: "r" },
      files: ["one", "sub/two"],
    });
    expect(await cache.read("thing")).toEqual(entry);
    const manifest: unknown = JSON.parse(await readFile(join(entry.directory, "manifest.json"), "utf8"));
    expect(manifest).toMatchObject({
      files: { one: "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b" },
    });
  });

  test("has nothing where nothing was published, and says nothing of it", async () => {
    expect(await cache.read("thing")).toBeUndefined();
    expect(lines).toEqual([]);
  });

  test.each<readonly [string, string, (path: string) => Promise<void>]>([
    ["a changed file", "one has another SHA-256", (path) => writeFile(join(path, "one"), "x")],
    ["a truncated file", "sub/two has another SHA-256", (path) => writeFile(join(path, "sub/two"), "")],
    ["a missing file", "one is missing", (path) => rm(join(path, "one"))],
    ["a missing manifest", "no manifest.json", (path) => rm(join(path, "manifest.json"))],
    [
      "half a manifest",
      "unreadable manifest.json",
      (path) => writeFile(join(path, "manifest.json"), '{"sch'),
    ],
    [
      "an unknown manifest",
      "unreadable manifest.json",
      (path) => writeFile(join(path, "manifest.json"), "{}"),
    ],
    [
      "a manifest that leads outside",
      "unreadable manifest.json",
      async (path) => {
        const text = await readFile(join(path, "manifest.json"), "utf8");
        await writeFile(join(path, "manifest.json"), text.replace('"one"', '"../../../etc/passwd"'));
      },
    ],
  ])("takes an entry with %s for broken, and replaces it", async (_, message, damage) => {
    const { directory: path } = await publish("1");
    await damage(path);
    expect(await cache.read("thing")).toBeUndefined();
    expect(lines).toEqual([expect.stringContaining(`broken (${message})`)]);
    const entry = await publish("again");
    expect(await cache.read("thing")).toEqual(entry);
    expect(await readFile(join(path, "one"), "utf8")).toBe("again");
  });

  test("keeps what another process published first", async () => {
    const [first, second] = [await make("first"), await make("second")];
    const description = { package: "p", version: "1", facts: {} };
    await cache.publish("thing", first, description);
    const entry = await cache.publish("thing", second, { ...description, version: "2" });
    expect(entry.version).toBe("1");
    expect(await readFile(join(entry.directory, "one"), "utf8")).toBe("first");
  });

  test("ends with one whole entry when many publish at once over a broken one", async () => {
    const { directory: path } = await publish("1");
    await writeFile(join(path, "one"), "broken");
    const entries = await Promise.all(["a", "b", "c", "d"].map((content) => publish(content)));
    const current = await cache.read("thing");
    expect(current).toBeDefined();
    for (const entry of entries) expect(entry).toEqual(current);
  });

  test("removes work directories that were abandoned long ago, and leaves those at work", async () => {
    const [old, young] = [await cache.workDirectory(), await cache.workDirectory()];
    const then = new Date(Date.now() - 7 * 3600 * 1000);
    await utimes(old, then, then);
    await openCache(cache.root, () => undefined);
    await expect(stat(old)).rejects.toThrow("ENOENT");
    expect((await readdir(cache.root)).map((name) => join(cache.root, name))).toEqual([young]);
  });

  test("says which directory cannot be made, and how to choose another", async () => {
    await writeFile(join(directory, "file"), "");
    await expect(openCache(join(directory, "file", "cache"), () => undefined)).rejects.toThrow(
      /Cannot make the cache directory ".*file\/cache" \(XDG_CACHE_HOME/,
    );
  });
});

function failed(code: string): Error {
  return Object.assign(new Error(`${code}: in the system's words`), { code });
}

describe("what the file system says of the cache", () => {
  test.each([
    [
      "ENOSPC",
      'There is no room in the cache directory "/c" (ENOSPC): make room for 2 GB, or choose another',
    ],
    ["EDQUOT", 'There is no room in the cache directory "/c" (EDQUOT): make room'],
    [
      "EACCES",
      'Cannot write in the cache directory "/c" (EACCES): run this as the user whose it is, or choose',
    ],
    ["EROFS", 'Cannot write in the cache directory "/c" (EROFS): '],
  ])("%s is put into words, with what to do", (code, words) => {
    const trouble = cacheTrouble(failed(code), "/c");
    expect(trouble).toBeInstanceOf(FetchError);
    expect(trouble).toMatchObject({ message: expect.stringContaining(words) });
  });

  test("anything else stays as it is", () => {
    const error = failed("EIO");
    expect(cacheTrouble(error, "/c")).toBe(error);
  });
});
