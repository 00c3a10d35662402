import { describe, expect, test } from "vitest";
import { aptTrouble, parseSimulation } from "../../../src/lab/fetch/apt.ts";
import { parseLibraryList } from "../../../src/lab/fetch/program.ts";

describe("apt's output", () => {
  test("lists what a simulated installation would install or replace", () => {
    const text = [
      "Reading package lists...",
      "Inst libc6 (2.41-12+deb13u4 Debian:13.7/stable [amd64]) []",
      "Conf libc6 (2.41-12+deb13u4 Debian:13.7/stable [amd64])",
      "Inst libuuid1:amd64 (2.41.5-0+deb13u1 Debian:13.7/stable, Debian-Security:13/stable-security [amd64])",
      "Inst tar [1.34] (1.35+dfsg-3.1 Debian:13.7/stable [amd64])",
    ].join("\n");
    expect(parseSimulation(text)).toEqual([
      { name: "libc6", version: "2.41-12+deb13u4" },
      { name: "libuuid1", version: "2.41.5-0+deb13u1" },
      { name: "tar", version: "1.35+dfsg-3.1" },
    ]);
  });

  test("tells the cause, not its consequences", () => {
    const gone =
      "E: The repository 'http://archive.example/debian bookworm Release' does not have a Release file.";
    const failed =
      "W: Failed to fetch http://archive.example/x  Could not resolve 'archive.example' [IP: 192.0.2.1 80]";
    const unsigned = "E: The repository 'http://archive.example/debian bookworm InRelease' is not signed.";
    const partial =
      "W: Some index files failed to download. They have been ignored, or old ones used instead.";
    expect(aptTrouble({ code: 0, stderr: "" })).toBe("");
    expect(aptTrouble({ code: 100, stderr: "" })).toBe("apt ended with status 100");
    expect(aptTrouble({ code: 0, stderr: `${failed}\n${partial}\n` })).toBe(
      "Failed to fetch http://archive.example/x  Could not resolve 'archive.example'",
    );
    expect(aptTrouble({ code: 100, stderr: `${failed}\n${gone}\n` })).toMatch(
      /^it is not in the archive \(any more\)/,
    );
    expect(aptTrouble({ code: 100, stderr: `${unsigned}\n` })).toContain("is not signed");
    expect(aptTrouble({ code: 100, stderr: `${unsigned}\n${failed}\n` })).toContain("Could not resolve");
    expect(aptTrouble({ code: 0, stderr: "W: Download is performed unsandboxed as root as ...\n" })).toBe("");
  });
});

test("a loader's list gives the libraries, without vdso and loader", () => {
  const text = [
    "\tlinux-vdso.so.1 (0x00007ffdb5bf2000)",
    "\tlibxenctrl.so.4.20 => /r/usr/lib/x86_64-linux-gnu/libxenctrl.so.4.20 (0x00007f8d3c000000)",
    "\tlibc.so.6 => /r/usr/lib/../lib/x86_64-linux-gnu/libc.so.6 (0x00007f8d3be1e000)",
    "\t/lib64/ld-linux-x86-64.so.2 => /r/lib64/ld-linux-x86-64.so.2 (0x00007f8d3c1f5000)",
    "\t/lib64/ld-linux-x86-64.so.2 (0x00007f8d3c1f5000)",
  ].join("\n");
  expect(parseLibraryList(text)).toEqual([
    "/r/usr/lib/x86_64-linux-gnu/libxenctrl.so.4.20",
    "/r/usr/lib/x86_64-linux-gnu/libc.so.6",
  ]);
});
