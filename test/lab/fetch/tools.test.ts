import { readdir } from "node:fs/promises";
import { basename } from "node:path";
import { describe, expect, test } from "vitest";
import { supply } from "../../../src/lab/fetch/supplies.ts";
import { DUMP_TOOLS, toolEnvironment } from "../../../src/lab/fetch/tools.ts";
import { makedumpfileEntries } from "../../../src/lab/tools.ts";
import { FakeMachine } from "./fake-machine.ts";

const LOADER = "/lib64/ld-linux-x86-64.so.2";
const LIBC = "/usr/lib/x86_64-linux-gnu/libc.so.6";

async function withQemu(): Promise<FakeMachine> {
  const machine = await FakeMachine.create();
  await machine.addProgram("qemu-system-x86_64");
  return machine;
}

describe("tools that read dumps", () => {
  test("are five programs with what they load, and of Python and drgn what they look for themselves", async () => {
    await using machine = await withQemu();
    const { tools } = await supply({ tools: true, log: machine.log }, machine);
    expect(tools).toMatchObject({
      loader: LOADER,
      versions: { makedumpfile: "1.7.6", readelf: "2.44", gdb: "16.3", crash: "8.0.6", python: "0.0.31" },
    });
    expect(tools?.files.map(({ guestPath }) => guestPath)).toEqual([
      LOADER,
      "/usr/bin/crash",
      "/usr/bin/gdb",
      "/usr/bin/makedumpfile",
      "/usr/bin/python3",
      "/usr/bin/readelf",
      "/usr/lib/python3.13/os.py",
      "/usr/lib/python3/dist-packages/_drgn.cpython-313-x86_64-linux-gnu.so",
      "/usr/lib/python3/dist-packages/drgn/__init__.py",
      LIBC,
    ]);
    expect(toolEnvironment(tools!)["PYTHONHOME"]).toBe(`${tools!.root}/usr`);
    // Of each program and of the extension the libraries are asked for.
    expect(machine.count("ld-linux-x86-64.so.2", "--list")).toBeGreaterThanOrEqual(DUMP_TOOLS.length + 1);
  });

  test("are not fetched unless asked for", async () => {
    await using machine = await withQemu();
    const { tools } = await supply({ log: machine.log }, machine);
    expect(tools).toBeUndefined();
    expect(await readdir(machine.cacheRoot)).not.toContain("tools");
  });

  test("give a capture kernel makedumpfile and nothing else, called through its own loader", async () => {
    await using machine = await withQemu();
    const { tools } = await supply({ tools: true, log: machine.log }, machine);
    const entries = await makedumpfileEntries(tools!);
    expect(entries.map(({ name }) => name)).toEqual([
      `tools${LOADER}`,
      "tools/usr/bin/makedumpfile",
      `tools${LIBC}`,
      "usr/bin/makedumpfile",
    ]);
    const script = entries.at(-1)!;
    expect("data" in script && Buffer.from(script.data).toString()).toContain(
      `exec /tools${LOADER} --inhibit-cache --library-path /tools/usr/lib/x86_64-linux-gnu /tools/usr/bin/makedumpfile`,
    );
  });

  test.each(["crash", "python3"])("are refused where %s does not run", async (program) => {
    await using machine = await withQemu();
    machine.override = ({ command, args }) =>
      basename(command) === basename(LOADER) &&
      args.some((arg) => arg.endsWith(`/bin/${program}`)) &&
      !args.includes("--list")
        ? { code: 127, stdout: "", stderr: "cannot open shared object file" }
        : undefined;
    await expect(supply({ tools: true, log: machine.log }, machine)).rejects.toThrow(
      /tools that read dumps: the fetched (?:crash|python) does not run here: cannot open shared object file/,
    );
    expect(await readdir(machine.cacheRoot)).not.toContain("tools");
  });
});
