/** A reader of cpio newc archives, written apart from the writer: it follows init/initramfs.c. */
import type { CpioEntry } from "../../src/lab/cpio.ts";

export interface ReadEntry {
  readonly inode: number;
  readonly entry: CpioEntry;
}

export function readCpio(archive: Uint8Array): readonly ReadEntry[] {
  const buffer = Buffer.from(archive);
  const entries: ReadEntry[] = [];
  for (let at = 0; ;) {
    if (buffer.toString("latin1", at, at + 6) !== "070701") throw new Error(`No magic at ${at}`);
    const field = (index: number): number => {
      const digits = buffer.toString("latin1", at + 6 + index * 8, at + 14 + index * 8);
      if (!/^[0-9A-F]{8}$/.test(digits)) throw new Error(`Field ${index} at ${at} is "${digits}"`);
      return Number.parseInt(digits, 16);
    };
    const nameEnd = at + 110 + field(11);
    if (buffer[nameEnd - 1] !== 0) throw new Error(`No NUL behind the name at ${at}`);
    const name = buffer.toString("utf8", at + 110, nameEnd - 1);
    if (name === "TRAILER!!!") return entries;
    const dataStart = Math.ceil(nameEnd / 4) * 4;
    const data = new Uint8Array(buffer.subarray(dataStart, dataStart + field(6)));
    entries.push({ inode: field(0), entry: entryOf(name, field(1), data, field(9), field(10)) });
    at = Math.ceil((dataStart + field(6)) / 4) * 4;
  }
}

function entryOf(name: string, fullMode: number, data: Uint8Array, major: number, minor: number): CpioEntry {
  const mode = fullMode & 0o7777;
  switch (fullMode & 0o170000) {
    case 0o040000:
      return { kind: "directory", name, mode };
    case 0o100000:
      return { kind: "file", name, mode, data };
    case 0o120000:
      return { kind: "symlink", name, target: Buffer.from(data).toString("utf8") };
    case 0o020000:
      return { kind: "character-device", name, mode, major, minor };
    default:
      throw new Error(`"${name}" has mode 0${fullMode.toString(8)}`);
  }
}
