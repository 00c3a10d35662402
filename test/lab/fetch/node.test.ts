/** The Node that a guest gets, or why it gets none. */
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { installedNode } from "../../../src/lab/fetch/node.ts";
import { elfProgram, FakeMachine } from "./fake-machine.ts";

/** A machine with a built program of ours, a loader, a library and a Node that says `described` of itself. */
async function machineWith(described: unknown) {
  const machine = await FakeMachine.create([]);
  const loader = await machine.write("lib64/ld.so", "loader");
  const library = await machine.write("lib/libuv.so.1", "libuv");
  const execPath = await machine.addProgram("node", elfProgram(loader));
  await machine.write("ours/package.json", "{}");
  await machine.write("ours/dist/cli/main.js", "main");
  machine.override = ({ args }) =>
    args.includes("--list")
      ? { stdout: `\tlibuv.so.1 => ${library} (0x00007f00)\n\t${loader} (0x00007f11)\n` }
      : { stdout: typeof described === "string" ? described : `${JSON.stringify(described)}\n` };
  return { machine, loader, library, execPath, root: join(machine.directory, "ours") };
}

describe("the Node that runs", () => {
  test("is taken with its loader and libraries, and started by them as a guest does it", async () => {
    const { machine, loader, library, execPath, root } = await machineWith({
      version: "20.19.2",
      defines: [],
    });
    await using _ = machine;
    const supply = await installedNode(machine, { execPath, root });
    expect(supply).toMatchObject({ version: "20.19.2", binary: execPath, loader, builtins: [] });
    expect(supply.files.map(({ guestPath }) => guestPath)).toEqual([execPath, loader, library]);
    expect(supply.program.map(({ guestPath }) => guestPath)).toEqual([
      "/opt/kdump-hotplug/package.json",
      "/opt/kdump-hotplug/dist/cli/main.js",
    ]);
    const asked = machine.calls.find(({ args }) => args.includes("--print"));
    expect(asked?.command).toBe(loader);
    expect(asked?.args.slice(0, 4)).toEqual([
      "--inhibit-cache",
      "--library-path",
      dirname(library),
      execPath,
    ]);
  });

  test("is taken with the pieces of its own library that it reads from files, as Debian's does", async () => {
    const described = { version: "20.19.2", defines: ["ICU_NO_USER_DATA_OVERRIDE"] };
    const { machine, execPath, root } = await machineWith(described);
    await using _ = machine;
    const lexer = await machine.write("share/nodejs/lexer.js", "lexer");
    described.defines.push(`NODE_SHARED_BUILTIN_CJS_MODULE_LEXER_LEXER_PATH=${lexer}`);
    const { builtins } = await installedNode(machine, { execPath, root });
    expect(builtins).toEqual([{ guestPath: lexer, hostPath: lexer }]);
    described.defines.push("NODE_SHARED_BUILTIN_ACORN_PATH=/nonexistent/acorn.js");
    await expect(installedNode(machine, { execPath, root })).rejects.toThrow(/\/nonexistent\/acorn\.js/);
  });
});

describe("a Node that cannot run in a guest", () => {
  test("because it is for another processor is refused", async () => {
    const { machine, execPath, root } = await machineWith({});
    await using _ = machine;
    machine.cpu = "arm64";
    await expect(installedNode(machine, { execPath, root })).rejects.toThrow(
      `the lab's guests are x86-64, but ${execPath} is a Node for arm64`,
    );
  });

  test("because it is static is refused", async () => {
    const { machine, root } = await machineWith({});
    await using _ = machine;
    const execPath = await machine.addProgram("static-node", elfProgram());
    await expect(installedNode(machine, { execPath, root })).rejects.toThrow(
      /static-node is static: .*; run the lab with a dynamically linked Node$/,
    );
  });

  test.each([
    ["says nothing that can be read", "{}\n", /it printed "\{\}\\n"$/],
    ["is another program", "usage: node FILE", /does not run when its loader .*ld\.so starts it: it printed/],
  ])("because it %s is refused", async (_what, described, message) => {
    const { machine, execPath, root } = await machineWith(described);
    await using _ = machine;
    await expect(installedNode(machine, { execPath, root })).rejects.toThrow(message);
  });

  test("because its loader cannot start it is refused with the loader's own words", async () => {
    const { machine, execPath, root, library, loader } = await machineWith({});
    await using _ = machine;
    machine.override = ({ args }) =>
      args.includes("--list")
        ? { stdout: `\tlibuv.so.1 => ${library} (0x00007f00)\n` }
        : { code: 127, stderr: `${loader}: unrecognized option: inhibit-cache\n` };
    await expect(installedNode(machine, { execPath, root })).rejects.toThrow(
      /unrecognized option: inhibit-cache$/,
    );
  });
});
