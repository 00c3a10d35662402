/** kdump-hotplug.mjs, the program in one file: alone in a directory, with nothing but Node. */
import { execFile, spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Ended } from "../cli/ended.ts";
import { startBytesQemu } from "../targets/qemu/bytes-qemu.ts";

const SOURCE = fileURLToPath(new URL("../../", import.meta.url));
const run = promisify(execFile);

let directory = "";
let file = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdh-bundle-"));
  await mkdir(join(directory, "alone"));
  file = join(directory, "alone/kdump-hotplug.mjs");
  await run(process.execPath, [join(SOURCE, "scripts/bundle.mjs"), file]);
}, 60_000);
afterAll(() => rm(directory, { recursive: true, force: true }));

/** Runs it where nothing else is, with next to no environment. */
async function bundled(...args: readonly string[]): Promise<Ended> {
  const env = { PATH: dirname(process.execPath), HOME: directory };
  return await run(file, args, { cwd: dirname(file), env, maxBuffer: 64 << 20 }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: Ended) => error,
  );
}

async function built(...args: readonly string[]): Promise<Ended> {
  return await run(process.execPath, [join(SOURCE, "dist/cli/main.js"), ...args]).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: Ended) => error,
  );
}

describe("alone in a directory", () => {
  test.each([
    "--version",
    "",
    "--help",
    "audit sim:6.1,dimm=1G",
    "keep --once sim:6.1,dimm=1G",
    "plug sim:6.12 --memory 1G --json",
    "simulate rfc",
    "completion zsh",
    "audit qmp:/nowhere/at-all.sock",
    "lab nothing",
  ])(
    "%j: says what the program of many files says",
    async (line) => {
      const args = line.split(" ").filter((word) => word !== "");
      const own = await bundled(...args);
      const { code, stdout, stderr } = await built(...args);
      expect({ code: own.code, stdout: own.stdout, stderr: own.stderr }).toEqual({ code, stdout, stderr });
    },
    120_000,
  );

  test("reads a core header from a file", async () => {
    await cp(join(SOURCE, "test/elfcore/golden/kexec-tools-base.bin"), join(directory, "header.bin"));
    const { code, stdout } = await bundled("inspect", join(directory, "header.bin"));
    expect(code).toBe(0);
    expect(stdout).toContain("a core header");
  });

  test("every command has its help", async () => {
    const pages = (await readdir(join(SOURCE, "dist/man"))).map((name) => name.replace(/\.1$/, ""));
    expect(pages.length).toBeGreaterThan(15);
    // No command's name has a hyphen.
    for (const words of pages.map((name) => name.split("-").slice(2))) {
      const { code, stdout, stderr } = await bundled(...words, "--help");
      expect([words, code, stderr]).toEqual([words, 0, ""]);
      expect(stdout).toContain(`Usage: ${["kdump-hotplug", ...words].join(" ")} `);
    }
  }, 240_000);

  test("says what it cannot do without koffi, before it touches anything", async () => {
    const { code, stderr } = await bundled("load", "local");
    expect(code).toBe(3);
    expect(stderr).toMatch(
      /^Cannot (?:make system calls: the optional package koffi is not installed|.*local)/,
    );
  });

  test("names the packages that are inside, with their licences", async () => {
    const text = await readFile(file, "utf8");
    for (const name of ["commander", "valibot", "prom-client", "lossless-json", "d3-scale"])
      expect(text).toMatch(new RegExp(`^${name} \\d+\\.\\d+\\.\\d+ \\(.+\\)$`, "m"));
    expect(text).not.toContain(SOURCE);
  });
});

test("the process that watches over pauses is the same file", async () => {
  await using qemu = await startBytesQemu("6.1,dimm=128M");
  const child = spawn(file, ["keep", "--once", `qmp:${qemu.path}`], { stdio: ["ignore", "ignore", "pipe"] });
  let stderr = "";
  child.stderr.on("data", (bytes: Buffer) => (stderr += bytes.toString()));
  // Killed within the pause, half a write done.
  qemu.onWrite = (_number, length) => {
    child.kill("SIGKILL");
    return Math.floor(length / 2);
  };
  await new Promise((done) => child.once("close", done));
  expect(child.signalCode).toBe("SIGKILL");
  expect(stderr).toContain("the guest runs again");
  expect(qemu.status).toBe("running");
});
