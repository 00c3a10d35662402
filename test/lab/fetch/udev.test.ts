import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { describe, expect, test } from "vitest";
import { SupplyError } from "../../../src/lab/fetch/errors.ts";
import { supply } from "../../../src/lab/fetch/supplies.ts";
import { UDEV_SUITES } from "../../../src/lab/fetch/udev.ts";
import { FakeMachine } from "./fake-machine.ts";

const LIBC = "/usr/lib/x86_64-linux-gnu/libc.so.6";

async function withQemu(): Promise<FakeMachine> {
  const machine = await FakeMachine.create();
  await machine.addProgram("qemu-system-x86_64");
  return machine;
}

describe("udev for a guest", () => {
  test.each(UDEV_SUITES)(
    "is %s's udevd, udevadm and flock with what they load, and no rules",
    async (suite) => {
      await using machine = await withQemu();
      const { udev } = await supply({ udev: suite, log: machine.log }, machine);
      expect(udev).toMatchObject({ suite, version: "252", loader: "/lib64/ld-linux-x86-64.so.2" });
      expect(udev?.files.map(({ guestPath }) => guestPath)).toEqual([
        "/bin/udevadm",
        "/lib/systemd/systemd-udevd",
        "/lib64/ld-linux-x86-64.so.2",
        "/usr/bin/flock",
        LIBC,
      ]);
      for (const path of Object.values(udev?.programs ?? {}))
        expect(udev?.files.map(({ guestPath }) => guestPath)).toContain(path);
      const libc = udev?.files.find(({ guestPath }) => guestPath === LIBC);
      expect(await readFile(libc?.hostPath ?? "", "utf8")).toBe("libc");
      // Both programs' libraries are asked for; only libraries are downloaded with them.
      expect(machine.count("ld-linux-x86-64.so.2", "--list")).toBe(4);
      expect(machine.calls.flatMap(({ args }) => args)).not.toContain("debconf=1.5");
    },
  );

  test("is not fetched unless asked for", async () => {
    await using machine = await withQemu();
    const { udev } = await supply({ log: machine.log }, machine);
    expect(udev).toBeUndefined();
    expect((await readdir(machine.cacheRoot)).filter((name) => name.startsWith("udev"))).toEqual([]);
  });

  test("is missing without an option that would give it, where the archive has none", async () => {
    await using machine = await withQemu();
    const { udev: _, ...rest } = machine.archive["bookworm"]!;
    machine.archive = { ...machine.archive, bookworm: rest };
    const error: unknown = await supply({ udev: "bookworm", log: machine.log }, machine).catch(
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(SupplyError);
    expect(String(error)).toMatch(/udev of bookworm: the archive's bookworm gives no udev: .*\(any more\)$/m);
  });

  test.each(["udevadm", "flock"])("is refused where %s does not run", async (program) => {
    await using machine = await withQemu();
    machine.override = ({ args }) =>
      basename(args.at(-2) ?? "") === program && args.at(-1) === "--version"
        ? { code: 127, stdout: "", stderr: "cannot open shared object file" }
        : undefined;
    await expect(supply({ udev: "trixie", log: machine.log }, machine)).rejects.toThrow(
      `udev of trixie: the fetched ${program} does not run here: cannot open shared object file`,
    );
    expect(await readdir(join(machine.cacheRoot))).not.toContain("udev-trixie");
  });
});
