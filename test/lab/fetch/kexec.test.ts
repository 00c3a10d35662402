import { basename } from "node:path";
import { describe, expect, test } from "vitest";
import { givenKexec } from "../../../src/lab/fetch/kexec.ts";
import { elfProgram, FakeMachine } from "./fake-machine.ts";

describe("a kexec given by hand", () => {
  test("takes this machine's loader and the libraries that it finds", async () => {
    await using machine = await FakeMachine.create([]);
    const loader = await machine.write("lib64/ld.so", "loader");
    const library = await machine.write("lib/libz.so.1", "zlib");
    const kexec = await machine.addProgram("kexec", elfProgram(loader));
    machine.override = ({ args }) =>
      args.includes("--list")
        ? { stdout: `\tlibz.so.1 => ${library} (0x00007f00)\n\t${loader} (0x00007f11)\n` }
        : { stdout: "kexec-tools 2.0.25\n" };
    expect(await givenKexec(machine, kexec, undefined)).toEqual({
      binary: kexec,
      version: "2.0.25",
      libraries: [{ guestPath: library, hostPath: library }],
      loader: { guestPath: loader, hostPath: loader },
    });
    expect(machine.calls.map(({ command }) => command)).toEqual([loader, loader]);
  });

  test("is refused where a library is missing", async () => {
    await using machine = await FakeMachine.create([]);
    const kexec = await machine.addProgram("kexec", elfProgram("/lib64/ld.so"));
    machine.override = ({ args }) =>
      args.includes("--list")
        ? { stdout: "\tlibxen.so.1 => not found\n" }
        : { stdout: "kexec-tools 2.0.25\n" };
    await expect(givenKexec(machine, kexec, undefined)).rejects.toThrow(`${kexec} lacks libxen.so.1`);
  });

  test("is refused where it is another program, or does not run", async () => {
    await using machine = await FakeMachine.create([]);
    const program = await machine.addProgram("true", elfProgram());
    machine.override = ({ command }) => (basename(command) === "true" ? { stdout: "" } : undefined);
    await expect(givenKexec(machine, program, undefined)).rejects.toThrow(
      "is no kexec that runs here: it says no version",
    );
    machine.override = () => ({ code: 127, stderr: "error while loading shared libraries: libxen.so.1\n" });
    await expect(givenKexec(machine, program, undefined)).rejects.toThrow(
      "loading shared libraries: libxen.so.1",
    );
  });
});
