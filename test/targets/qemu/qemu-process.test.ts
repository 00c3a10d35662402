import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

import {
  findQemuProcesses,
  parseMaps,
  parseRamBlocks,
  parseUnixSockets,
} from "../../../src/targets/qemu/qemu-process.ts";

const UNIX_TABLE = `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 11492 /run/a b/qmp.sock
0000000000000000: 00000003 00000000 00000000 0001 03 11500
0000000000000000: 00000002 00000000 00010000 0001 01 11600 qmp.sock
0000000000000000: 00000002 00000000 00010000 0001 01 11700 @abstract
`;

describe("parsers of procfs", () => {
  it("reads the sockets that have a name", () => {
    expect(parseUnixSockets(UNIX_TABLE)).toEqual([
      { inode: "11492", path: "/run/a b/qmp.sock" },
      { inode: "11600", path: "qmp.sock" },
      { inode: "11700", path: "@abstract" },
    ]);
  });

  it("reads mappings with and without a file", () => {
    const text = [
      "7fab6fc00000-7fabafc00000 rw-s 00001000 00:01 34                         /memfd:n1 (deleted)",
      "7fabaffff000-7fabeffff000 rw-p 00000000 00:00 0 ",
      "7ffc0-7ffd0 rw-p 00000000 00:00 0                          [stack]",
      "nonsense",
    ].join("\n");
    expect(parseMaps(text)).toEqual([
      {
        start: 0x7fab6fc00000n,
        end: 0x7fabafc00000n,
        permissions: "rw-s",
        offset: 0x1000n,
        inode: 34n,
        path: "/memfd:n1 (deleted)",
      },
      {
        start: 0x7fabaffff000n,
        end: 0x7fabeffff000n,
        permissions: "rw-p",
        offset: 0n,
        inode: 0n,
        path: "",
      },
      { start: 0x7ffc0n, end: 0x7ffd0n, permissions: "rw-p", offset: 0n, inode: 0n, path: "[stack]" },
    ]);
  });

  it("reads where QEMU has its RAM blocks, and finds nothing in the older form", () => {
    const text = readFileSync(new URL("fixtures/ramblock-numa.txt", import.meta.url), "utf8");
    expect(parseRamBlocks(text).slice(0, 2)).toEqual([
      { name: "n0", used: 0x40000000n, hostAddress: 0x7fabaffff000n },
      { name: "n1", used: 0x40000000n, hostAddress: 0x7fab6fc00000n },
    ]);
    expect(parseRamBlocks(text)).toHaveLength(5);
    expect(parseRamBlocks(text.replace("HVA", "   "))).toEqual([]);
    expect(parseRamBlocks("")).toEqual([]);
  });
});

describe("findQemuProcesses", () => {
  it("finds who holds the socket, bound by absolute or relative name, and nobody else", async () => {
    const root = await mkdtemp(join(tmpdir(), "kdh-test-"));
    try {
      const proc = join(root, "proc");
      await mkdir(join(proc, "net"), { recursive: true });
      const table = UNIX_TABLE.replace("/run/a b/qmp.sock", `${root}/qmp.sock`);
      await writeFile(join(proc, "net/unix"), table);
      const addProcess = async (pid: number, inode: number, directory: string): Promise<void> => {
        await mkdir(join(proc, String(pid), "fd"), { recursive: true });
        await symlink(`socket:[${inode}]`, join(proc, String(pid), "fd/3"));
        await symlink(directory, join(proc, String(pid), "cwd"));
      };
      await addProcess(4001, 11492, "/");
      await addProcess(4002, 11600, root);
      await addProcess(4003, 11600, "/elsewhere");
      await addProcess(4004, 11500, root);
      const found = await findQemuProcesses(`${root}/qmp.sock`, proc);
      expect(found.map((each) => each.pid).sort((a, b) => a - b)).toEqual([4001, 4002]);
      expect(found[0]).toMatchObject({ uid: process.getuid?.() });
      expect(await findQemuProcesses(`${root}/other.sock`, proc)).toEqual([]);
      expect(await findQemuProcesses(`${root}/qmp.sock`, join(root, "none"))).toEqual([]);
    } finally {
      await rm(root, { recursive: true });
    }
  });
});
