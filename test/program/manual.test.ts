/** The man pages and completions that a build makes, as the programs that read them see them. */
import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";

const DIST = fileURLToPath(new URL("../../dist/", import.meta.url));
const MAN = join(DIST, "man");
const run = promisify(execFile);
const pages = (await readdir(MAN)).map((name) => join(MAN, name));

/** Whether a program is there. */
async function isThere(program: string, ...args: readonly string[]): Promise<boolean> {
  return await run(program, args).then(
    () => true,
    ({ code }: { readonly code?: unknown }) => code !== "ENOENT",
  );
}

/** What a program said of a page, whatever its exit code. */
async function saidOf(program: string, ...args: readonly string[]): Promise<string> {
  const env = { ...process.env, LC_ALL: "C.UTF-8", MANWIDTH: "80", PAGER: "cat", MANPAGER: "cat" };
  const { stdout, stderr } = await run(program, args, { env }).catch(
    (error: { readonly stdout: string; readonly stderr: string }) => error,
  );
  return program === "mandoc" ? stdout + stderr : stderr;
}

describe("man pages", () => {
  test("mandoc has nothing to say of them, not even of style", async ({ skip }) => {
    skip(!(await isThere("mandoc", "-V")), "mandoc is not installed (apt-get install mandoc)");
    expect(pages.length).toBeGreaterThan(15);
    for (const page of pages) expect(await saidOf("mandoc", "-T", "lint", "-W", "style", page)).toBe("");
  });

  test("groff formats them without a warning", async ({ skip }) => {
    skip(!(await isThere("man", "--version")), "man is not installed (apt-get install man-db groff-base)");
    for (const page of pages) expect(await saidOf("man", "--warnings", "-l", page)).toBe("");
  });

  test("have the date of the sources, not of the build", async () => {
    const build: unknown = JSON.parse(await readFile(join(DIST, "build.json"), "utf8"));
    const time = /"time":(\d+)/.exec(JSON.stringify(build))?.[1] ?? "0";
    const date = new Date(Number(process.env["SOURCE_DATE_EPOCH"] ?? time) * 1000).toISOString().slice(0, 10);
    for (const page of pages)
      expect(await readFile(page, "utf8")).toMatch(new RegExp(`^\\.TH .* 1 ${date} `, "m"));
  });
});

test("the completions are those that the program prints", async () => {
  const main = join(DIST, "cli/main.js");
  for (const [shell, name] of [
    ["bash", "kdump-hotplug.bash"],
    ["zsh", "_kdump-hotplug"],
    ["fish", "kdump-hotplug.fish"],
  ] as const) {
    const { stdout } = await run(process.execPath, [main, "completion", shell]);
    expect(stdout).toBe(await readFile(join(DIST, "completions", name), "utf8"));
  }
});
