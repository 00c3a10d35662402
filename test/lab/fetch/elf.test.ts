import { describe, expect, test } from "vitest";
import { readInterpreter } from "../../../src/lab/fetch/elf.ts";
import { elfProgram, FakeMachine } from "./fake-machine.ts";

describe("a program's loader", () => {
  test("is read from PT_INTERP; a static program has none", async () => {
    await using machine = await FakeMachine.create([]);
    expect(await readInterpreter(await machine.write("dynamic", elfProgram("/lib64/ld.so")))).toBe(
      "/lib64/ld.so",
    );
    expect(await readInterpreter(await machine.write("static", elfProgram()))).toBeUndefined();
    expect(await readInterpreter(process.execPath)).toMatch(/^\/lib/);
  });

  test.each<readonly [string, (program: Buffer) => Uint8Array, string]>([
    ["nothing", () => new Uint8Array(), "is not an x86-64 ELF program"],
    ["half a header", (program) => program.subarray(0, 40), "is not an x86-64 ELF program"],
    [
      "another machine's",
      (program) => (program.writeUInt16LE(183, 18), program),
      "is not an x86-64 ELF program",
    ],
    ["headers beyond its end", (program) => program.subarray(0, 100), "program headers out of reach"],
    [
      "headers far away",
      (program) => (program.writeBigUInt64LE(2n ** 63n, 32), program),
      "program headers out of reach",
    ],
    ["a name beyond its end", (program) => program.subarray(0, 125), "name out of reach"],
  ])("is refused where the file has %s", async (_, damage, message) => {
    await using machine = await FakeMachine.create([]);
    const path = await machine.write("program", damage(Buffer.from(elfProgram("/lib64/ld.so"))));
    await expect(readInterpreter(path)).rejects.toThrow(message);
  });

  test("is refused where there is no file, or a directory", async () => {
    await expect(readInterpreter("/nonexistent")).rejects.toThrow("ENOENT");
    await expect(readInterpreter("/")).rejects.toThrow("EISDIR");
  });
});
