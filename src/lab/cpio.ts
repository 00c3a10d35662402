/**
 * A cpio archive in the "newc" form, which the kernel unpacks as its initramfs.
 *
 * The same entries give the same bytes: every time is 0, every owner is root, inode numbers are counted.
 *
 * @see Documentation/driver-api/early-userspace/buffer-format.rst; init/initramfs.c reads it.
 */

/** A directory. */
export interface CpioDirectory {
  readonly kind: "directory";
  readonly name: string;
  /** Permission bits. */
  readonly mode: number;
}

/** A regular file with its content. */
export interface CpioFile {
  readonly kind: "file";
  readonly name: string;
  /** Permission bits. */
  readonly mode: number;
  readonly data: Uint8Array;
}

/** A symbolic link. */
export interface CpioSymlink {
  readonly kind: "symlink";
  readonly name: string;
  readonly target: string;
}

/** A character device node. */
export interface CpioCharacterDevice {
  readonly kind: "character-device";
  readonly name: string;
  /** Permission bits. */
  readonly mode: number;
  readonly major: number;
  readonly minor: number;
}

/** One entry. Its name is relative, without `.` and `..`: `dev/console`. */
export type CpioEntry = CpioDirectory | CpioFile | CpioSymlink | CpioCharacterDevice;

/** An entry that the archive cannot hold. */
export class CpioError extends Error {
  override readonly name = "CpioError";
}

/** "070701", then 13 fields of 8 hex digits. */
const HEADER_SIZE = 6 + 13 * 8;
const TRAILER = "TRAILER!!!";
/** The archive's own size is a multiple of this, as cpio(1) writes it. */
const BLOCK_SIZE = 512;
/** The kernel skips names and link targets that do not fit into this, with their final NUL (init/initramfs.c). */
const PATH_MAX = 4096;

const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;
const S_IFCHR = 0o020000;

const encoder = new TextEncoder();

/**
 * Writes an archive with the entries in the order given.
 *
 * @throws {CpioError} where a name is not relative and plain, comes twice or before its directory, or a number
 *   does not fit its field.
 */
export function encodeCpio(entries: readonly CpioEntry[]): Uint8Array {
  checkTree(entries);
  const records = entries.map((entry, index) => encodeRecord(fieldsOf(entry), entry.name, index + 1));
  records.push(encodeRecord({ mode: 0, nlink: 1, major: 0, minor: 0, data: new Uint8Array() }, TRAILER, 0));
  const size = records.reduce((sum, record) => sum + record.length, 0);
  const archive = new Uint8Array(Math.ceil(size / BLOCK_SIZE) * BLOCK_SIZE);
  let offset = 0;
  for (const record of records) {
    archive.set(record, offset);
    offset += record.length;
  }
  return archive;
}

/** The directories that entries need and do not have, parents first, to be put before them. */
export function missingDirectories(entries: readonly CpioEntry[], mode = 0o755): readonly CpioDirectory[] {
  const present = new Set(entries.filter(({ kind }) => kind === "directory").map(({ name }) => name));
  const missing: CpioDirectory[] = [];
  for (const { name } of entries) {
    const parts = name.split("/");
    for (let depth = 1; depth < parts.length; depth += 1) {
      const parent = parts.slice(0, depth).join("/");
      if (present.has(parent)) continue;
      present.add(parent);
      missing.push({ kind: "directory", name: parent, mode });
    }
  }
  return missing;
}

interface Fields {
  /** Type and permission bits. */
  readonly mode: number;
  readonly nlink: number;
  /** Of the device that the entry is; 0 for all else. */
  readonly major: number;
  readonly minor: number;
  readonly data: Uint8Array;
}

function fieldsOf(entry: CpioEntry): Fields {
  const plain = { nlink: 1, major: 0, minor: 0, data: new Uint8Array() };
  if (entry.kind === "symlink") return { ...plain, mode: S_IFLNK | 0o777, data: linkTarget(entry) };
  const mode = permissions(entry);
  if (entry.kind === "directory") return { ...plain, mode: S_IFDIR | mode, nlink: 2 };
  if (entry.kind === "file") return { ...plain, mode: S_IFREG | mode, data: entry.data };
  return { ...plain, mode: S_IFCHR | mode, major: entry.major, minor: entry.minor };
}

function permissions({ name, mode }: { readonly name: string; readonly mode: number }): number {
  if (Number.isInteger(mode) && mode >= 0 && mode <= 0o7777) return mode;
  throw new CpioError(`Cannot archive "${name}": its mode ${mode} is not one of 0 to 0o7777`);
}

function linkTarget({ name, target }: CpioSymlink): Uint8Array {
  const bytes = encoder.encode(target);
  if (bytes.length > 0 && bytes.length < PATH_MAX && !target.includes("\0")) return bytes;
  throw new CpioError(
    `Cannot archive "${name}": its target has ${bytes.length} bytes or a NUL, wanted 1 to 4095`,
  );
}

function encodeRecord(fields: Fields, name: string, inode: number): Uint8Array {
  const nameBytes = encoder.encode(`${name}\0`);
  const values: readonly (readonly [field: string, value: number])[] = [
    ["c_ino", inode],
    ["c_mode", fields.mode],
    ["c_uid", 0],
    ["c_gid", 0],
    ["c_nlink", fields.nlink],
    ["c_mtime", 0],
    ["c_filesize", fields.data.length],
    ["c_maj", 0],
    ["c_min", 0],
    ["c_rmaj", fields.major],
    ["c_rmin", fields.minor],
    ["c_namesize", nameBytes.length],
    ["c_chksum", 0],
  ];
  const header = encoder.encode(`070701${values.map(([field, value]) => hex8(value, field, name)).join("")}`);
  // The name and the data each end at a multiple of 4, counted from the record's start.
  const dataStart = align4(HEADER_SIZE + nameBytes.length);
  const record = new Uint8Array(align4(dataStart + fields.data.length));
  record.set(header);
  record.set(nameBytes, HEADER_SIZE);
  record.set(fields.data, dataStart);
  return record;
}

function hex8(value: number, field: string, name: string): string {
  if (!Number.isInteger(value) || value < 0 || value > 0xffffffff) {
    throw new CpioError(`Cannot archive "${name}": ${field} is ${value}, wanted 0 to 0xffffffff`);
  }
  return value.toString(16).toUpperCase().padStart(8, "0");
}

function align4(offset: number): number {
  return (offset + 3) & ~3;
}

/** Names are plain, appear once, and behind their directory: the kernel creates entries one by one. */
function checkTree(entries: readonly CpioEntry[]): void {
  const kinds = new Map<string, CpioEntry["kind"]>();
  for (const { name, kind } of entries) {
    const parts = name.split("/");
    if (
      name === TRAILER ||
      name.includes("\0") ||
      parts.some((part) => part === "" || part === "." || part === "..")
    ) {
      throw new CpioError(
        `Cannot archive ${JSON.stringify(name)}: the name must be relative, without "." and ".."`,
      );
    }
    const length = encoder.encode(name).length + 1;
    if (length > PATH_MAX)
      throw new CpioError(`Cannot archive a name of ${length} bytes: the limit is ${PATH_MAX}`);
    if (kinds.has(name)) throw new CpioError(`Cannot archive "${name}" twice`);
    const parent = parts.slice(0, -1).join("/");
    if (parent !== "" && kinds.get(parent) !== "directory") {
      throw new CpioError(`Cannot archive "${name}": the directory "${parent}" must come before it`);
    }
    kinds.set(name, kind);
  }
}
