/** The load in full: what is looked at before the call, and what the call is given. No image is ever loaded. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { execFileSync } from "node:child_process";
import { readlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseBzImage } from "../../../src/targets/local/bzimage.ts";
import type { CaptureFiles } from "../../../src/targets/local/capture-facts.ts";
import { prepareFullLoad } from "../../../src/targets/local/full-load.ts";
import { KexecRefusedError } from "../../../src/targets/local/kexec-error.ts";
import type { SystemCalls } from "../../../src/targets/local/system-calls.ts";
import { bzImage } from "./bzimage-file.ts";
import { AnsweredCalls } from "./harmless-calls.ts";

/** Nothing but kexec_file_load is called, and that is answered. */
const NO_CALLS: SystemCalls = {
  invoke: () => expect.fail("no other call is to be made"),
  addressOf: () => expect.fail("no address is to be taken"),
  copy: () => expect.fail("nothing is to be copied"),
  whenReadable: () => expect.fail("nothing is to be waited for"),
};

describe("a kernel file", () => {
  test("says what it takes", () => {
    expect(parseBzImage(bzImage(), "/k")).toEqual({ initSize: 0x0330_0800, commandLineSize: 2047 });
  });

  test.each<[string, Uint8Array]>([
    ["it has 1023 bytes", bzImage().subarray(0, 1023)],
    ["it has no setup header", bzImage((view) => view.setUint16(0x1fe, 0))],
    ["it has no setup header", bzImage((view) => view.setUint32(0x202, 0x7f454c46))],
    ["its boot protocol is 2.11", bzImage((view) => view.setUint16(0x206, 0x020b, true))],
    ["it is a zImage", bzImage((view) => view.setUint8(0x211, 0x80))],
    ["its xloadflags are 0x1", bzImage((view) => view.setUint16(0x236, 1, true))],
  ])("is refused where %s", (words, bytes) => {
    const parse = (): unknown => parseBzImage(bytes, "/k");
    expect(parse).toThrow(KexecRefusedError);
    expect(parse).toThrow(`Cannot load /k: ${words}, expected a bzImage of x86-64`);
  });
});

describe("a load in full", () => {
  let directory: string;
  let files: CaptureFiles;
  const CRASH = 256 * 1024 * 1024;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "kdump-hotplug-full-"));
    files = {
      kernel: join(directory, "kernel"),
      initrd: join(directory, "initrd"),
      commandLine: "root=/dev/sda1 nr_cpus=1",
      source: "a test",
      notes: [],
    };
    await writeFile(files.kernel, bzImage());
    await writeFile(join(directory, "initrd"), new Uint8Array(5000));
  });
  afterAll(async () => {
    await rm(directory, { recursive: true });
  });

  test("gives the kernel the open files, and closes them", async () => {
    const paths: string[] = [];
    const calls = new AnsweredCalls(NO_CALLS, ({ name, args }) => {
      if (name !== "kexec_file_load") return undefined;
      for (const fd of args.slice(0, 2)) paths.push(readlinkSync(`/proc/self/fd/${Number(fd)}`));
      return 0;
    });
    const load = await prepareFullLoad(calls, files, CRASH);
    expect(load.bytes).toBe(0x0330_1000 + 8192);
    expect(calls.made).toEqual([]);
    expect(load.load()).toBe(1.5);
    expect(paths).toEqual([files.kernel, files.initrd]);
    const [fd] = calls.made[0]!.args;
    await load[Symbol.asyncDispose]();
    expect(() => load.load()).toThrow("the files were closed");
    expect(() => readlinkSync(`/proc/self/fd/${Number(fd)}`)).toThrow("ENOENT");
  });

  test("is refused where crash memory is too small, where the command line is too long or not one line", async () => {
    const calls = new AnsweredCalls(NO_CALLS, () => undefined);
    await expect(prepareFullLoad(calls, files, 0x0330_1000)).rejects.toThrow(
      "with its initrd it takes 53489664 bytes of crash memory, and there are 53481472: reserve more",
    );
    const exact = "x".repeat(2047 - 31);
    await using _ = await prepareFullLoad(calls, { ...files, commandLine: exact }, CRASH);
    await expect(prepareFullLoad(calls, { ...files, commandLine: `${exact}x` }, CRASH)).rejects.toThrow(
      "its command line takes 2048 bytes with elfcorehdr=, and it takes 2047",
    );
    await expect(prepareFullLoad(calls, { ...files, commandLine: "a\nb" }, CRASH)).rejects.toThrow(
      "more than one line",
    );
    expect(calls.made).toEqual([]);
  });

  test("is refused where a file is missing, empty, or none", async () => {
    const calls = new AnsweredCalls(NO_CALLS, () => undefined);
    const preparing = async (changed: Partial<CaptureFiles>): Promise<unknown> =>
      await prepareFullLoad(calls, { ...files, ...changed }, CRASH);
    await expect(preparing({ kernel: join(directory, "nothing") })).rejects.toThrow("ENOENT");
    await expect(preparing({ initrd: directory })).rejects.toThrow(`${directory}: it is no regular file`);
    const pipe = join(directory, "pipe");
    execFileSync("mkfifo", [pipe]);
    await expect(preparing({ kernel: pipe })).rejects.toThrow("it is no regular file");
    const empty = join(directory, "empty");
    await writeFile(empty, "");
    await expect(preparing({ initrd: empty })).rejects.toThrow(`${empty}: it is empty`);
    await expect(preparing({ kernel: join(directory, "initrd") })).rejects.toThrow("it has no setup header");
    expect(calls.made).toEqual([]);
  });
});
