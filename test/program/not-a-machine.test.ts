/** TARGETs that are no machine and FILEs without a header: the real program, and no QEMU. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { execFileSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cli, expectOneSentence } from "../real/cli.ts";

let directory = "";

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdh-cli-"));
});

afterAll(async () => {
  await rm(directory, { recursive: true, force: true });
});

async function file(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, content);
  return path;
}

describe("a TARGET that is no machine", () => {
  it.each(["here", "libvirt:", "qmp:", "/run/qmp.sock", ""])(
    "%j is refused with what can be given",
    async (target) => {
      const result = await cli("audit", target);
      expectOneSentence(result, 2);
      expect(result.stderr).toContain("expected qmp:PATH");
    },
  );

  it("a simulated machine that is none is refused with what a description is", async () => {
    const result = await cli("audit", "sim:rfc");
    expectOneSentence(result, 2);
    expect(result.stderr).toContain("a description is");
  });
});

const FILES: readonly (readonly [string, () => Promise<string>])[] = [
  ["a file that is not there", async () => join(directory, "nothing")],
  ["an empty file", async () => file("empty", "")],
  ["a short text", async () => file("short", "hello\n")],
  ["a long text", async () => file("long", "hello\n".repeat(50_000))],
  ["text that speaks of elfcorehdr", async () => file("words", "elfcorehdr=0x1000 ".repeat(5_000))],
  ["a directory", async () => directory],
  ["a device", async () => "/dev/null"],
  ["an ELF file that is no core", async () => process.execPath],
  ["the first bytes of an ELF core", async () => file("magic", Buffer.from("\u007fELF".padEnd(64, "\0")))],
];

describe("a FILE without a core header", () => {
  it.each(FILES)("%s ends with one sentence", async (_what, make) => {
    const path = await make();
    const result = await cli("inspect", path);
    expectOneSentence(result, 2);
    expect.soft(result.stdout).toBe("");
  });

  it("a pipe that nobody writes to is not waited for", async () => {
    const path = join(directory, "fifo");
    execFileSync("mkfifo", [path]);
    const result = await cli("inspect", path);
    expectOneSentence(result, 2);
    expect(result.stderr).toContain("is no regular file");
  });
});
