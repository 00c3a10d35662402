import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CpioError, encodeCpio, missingDirectories, type CpioEntry } from "../../src/lab/cpio.ts";
import { readCpio } from "./read-cpio.ts";

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
const bytes = (content: string): Uint8Array => new TextEncoder().encode(content);

/** Derived by hand from buffer-format.rst: magic, then ino, mode, uid, gid, nlink, mtime, filesize, maj, min, rmaj, rmin, namesize, chksum. */
const VECTORS: readonly (readonly [what: string, entry: CpioEntry, record: string])[] = [
  [
    "a directory",
    { kind: "directory", name: "dev", mode: 0o755 },
    // 110 + 4 = 114, padded by 2 to 116.
    "070701" +
      "00000001" +
      "000041ED" +
      "00000000".repeat(2) +
      "00000002" +
      "00000000".repeat(6) +
      "00000004" +
      "00000000" +
      "dev\0\0\0",
  ],
  [
    "a file, its name and its data padded",
    { kind: "file", name: "init", mode: 0o755, data: bytes("hello") },
    // 110 + 5 = 115, padded by 1 to 116; 5 bytes of data, padded by 3.
    "070701" +
      "00000001" +
      "000081ED" +
      "00000000".repeat(2) +
      "00000001" +
      "00000000" +
      "00000005" +
      "00000000".repeat(4) +
      "00000005" +
      "00000000" +
      "init\0\0hello\0\0\0",
  ],
  [
    "an empty file whose name needs no padding",
    { kind: "file", name: "a", mode: 0o600, data: bytes("") },
    // 110 + 2 = 112.
    "070701" +
      "00000001" +
      "00008180" +
      "00000000".repeat(2) +
      "00000001" +
      "00000000".repeat(6) +
      "00000002" +
      "00000000" +
      "a\0",
  ],
  [
    "a symbolic link, its target as data",
    { kind: "symlink", name: "sh", target: "busybox" },
    // 110 + 3 = 113, padded by 3 to 116; 7 bytes of target, padded by 1.
    "070701" +
      "00000001" +
      "0000A1FF" +
      "00000000".repeat(2) +
      "00000001" +
      "00000000" +
      "00000007" +
      "00000000".repeat(4) +
      "00000003" +
      "00000000" +
      "sh\0\0\0\0busybox\0",
  ],
  [
    "a character device",
    { kind: "character-device", name: "console", mode: 0o600, major: 5, minor: 1 },
    // 110 + 8 = 118, padded by 2 to 120.
    "070701" +
      "00000001" +
      "00002180" +
      "00000000".repeat(2) +
      "00000001" +
      "00000000".repeat(4) +
      "00000005" +
      "00000001" +
      "00000008" +
      "00000000" +
      "console\0\0\0",
  ],
];

const TRAILER =
  "070701" +
  "00000000".repeat(4) +
  "00000001" +
  "00000000".repeat(6) +
  "0000000B" +
  "00000000" +
  "TRAILER!!!\0\0\0\0";

const file = (name: string): CpioEntry => ({ kind: "file", name, mode: 0o644, data: bytes("x") });
const device = (major: number): CpioEntry => ({
  kind: "character-device",
  name: "d",
  mode: 0o600,
  major,
  minor: 0,
});

describe("a cpio archive", () => {
  test.each(VECTORS)("writes %s byte for byte", (_, entry, record) => {
    const archive = text(encodeCpio([entry]));
    expect(archive.slice(0, record.length)).toBe(record);
    expect(archive.slice(record.length)).toBe(TRAILER.padEnd(512 - record.length, "\0"));
  });

  test("without entries is a trailer in one block", () => {
    expect(text(encodeCpio([]))).toBe(TRAILER.padEnd(512, "\0"));
  });

  test("counts inode numbers", () => {
    const archive = encodeCpio(
      ["a", "b", "c"].map((name) => ({ kind: "directory", name, mode: 0o755 }) as const),
    );
    expect(readCpio(archive).map(({ inode }) => inode)).toEqual([1, 2, 3]);
  });

  test("gives any tree back, and the same bytes for it", () => {
    const name = fc.stringMatching(/^[a-zA-Z0-9_é.-]{1,20}$/).filter((part) => !/^\.{1,2}$/.test(part));
    const entry = fc.oneof(
      fc.record({
        kind: fc.constant("file" as const),
        name,
        mode: fc.nat(0o7777),
        data: fc.uint8Array({ maxLength: 2000 }),
      }),
      fc.record({ kind: fc.constant("directory" as const), name, mode: fc.nat(0o7777) }),
      fc.record({ kind: fc.constant("symlink" as const), name, target: fc.stringMatching(/^[a-z/]{1,50}$/) }),
      fc.record({
        kind: fc.constant("character-device" as const),
        name,
        mode: fc.nat(0o7777),
        major: fc.nat(0xffffffff),
        minor: fc.nat(0xffffffff),
      }),
    );
    fc.assert(
      fc.property(fc.uniqueArray(entry, { selector: (value) => value.name, maxLength: 12 }), (entries) => {
        const archive = encodeCpio(entries);
        expect(archive.length % 512).toBe(0);
        expect(readCpio(archive).map(({ entry: read }) => read)).toEqual(entries);
        expect(encodeCpio(entries)).toEqual(archive);
      }),
    );
  });

  test.each<readonly [string, readonly CpioEntry[], string]>([
    ["an empty name", [file("")], "must be relative"],
    ["an absolute name", [file("/init")], "must be relative"],
    ["a name that climbs", [file("a/../b")], "must be relative"],
    ["a name with a dot", [file("./a")], "must be relative"],
    ["a name with a final slash", [file("a/")], "must be relative"],
    ["a name with a NUL", [file("a\0b")], "must be relative"],
    ["the trailer's name", [file("TRAILER!!!")], "must be relative"],
    ["a name that the kernel would skip", [file("n".repeat(4096))], "a name of 4097 bytes"],
    ["a name twice", [file("a"), file("a")], 'Cannot archive "a" twice'],
    ["a file before its directory", [file("a/b")], 'the directory "a" must come before it'],
    ["a file below a file", [file("a"), file("a/b")], 'the directory "a" must come before it'],
    [
      "a mode that is more than permissions",
      [{ kind: "directory", name: "a", mode: 0o40755 }],
      "its mode 16877",
    ],
    ["a link without target", [{ kind: "symlink", name: "a", target: "" }], "its target has 0 bytes"],
    [
      "a link whose target is too long",
      [{ kind: "symlink", name: "a", target: "t".repeat(4096) }],
      "4096 bytes",
    ],
    [
      "a device number that needs nine digits",
      [device(0x100000000)],
      "c_rmaj is 4294967296, wanted 0 to 0xffffffff",
    ],
    ["a negative device number", [device(-1)], "c_rmaj is -1"],
    ["a fractional device number", [device(1.5)], "c_rmaj is 1.5"],
  ])("refuses %s", (_, entries, message) => {
    expect(() => encodeCpio(entries)).toThrow(CpioError);
    expect(() => encodeCpio(entries)).toThrow(message);
  });
});

test("missing directories are named once, parents first", () => {
  const entries: readonly CpioEntry[] = [
    { kind: "directory", name: "a", mode: 0o700 },
    { kind: "file", name: "a/b/c/d", mode: 0o644, data: bytes("") },
    { kind: "file", name: "a/b/e", mode: 0o644, data: bytes("") },
    { kind: "file", name: "f", mode: 0o644, data: bytes("") },
  ];
  const missing = missingDirectories(entries);
  expect(missing).toEqual([
    { kind: "directory", name: "a/b", mode: 0o755 },
    { kind: "directory", name: "a/b/c", mode: 0o755 },
  ]);
});
