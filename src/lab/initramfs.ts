/** The two initramfs images of the lab: the guest's, and the capture kernel's that the guest loads. */
import { readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { encodeCpio, missingDirectories, type CpioEntry } from "./cpio.ts";
import { KEXEC_GUEST_PATH, type KexecSupply } from "./fetch/kexec.ts";

/** Where the guest has the kernel that it loads as its capture kernel. */
export const GUEST_VMLINUZ = "/boot/vmlinuz";
/** Where the guest has the capture kernel's initramfs. */
export const GUEST_CAPTURE_INITRAMFS = "/boot/capture.cpio.gz";

/** What the capture kernel's initramfs is made of. */
export interface CaptureInitramfsParts {
  /** A static busybox, on this machine. Its applets' links are made at boot: `busybox --install -s`. */
  readonly busybox: string;
  /** The text of `/init`. */
  readonly initScript: string;
  /** More entries; their directories are made. */
  readonly extraFiles?: readonly CpioEntry[];
}

/** What the guest's initramfs is made of. */
export interface GuestInitramfsParts extends CaptureInitramfsParts {
  readonly kexec: Pick<KexecSupply, "binary" | "libraries" | "loader">;
  /** The kernel that the guest loads as its capture kernel, on this machine. */
  readonly vmlinuz: string;
  /** What `captureInitramfs` gave. */
  readonly captureInitramfs: Uint8Array;
}

/** Mount points and the like, that the init scripts find in place. */
const DIRECTORIES: readonly string[] = ["bin", "dev", "etc", "proc", "root", "run", "sbin", "sys", "tmp"];

/**
 * The capture kernel's initramfs: busybox and its `/init`.
 *
 * @throws the file system's error where busybox cannot be read.
 */
export async function captureInitramfs(parts: CaptureInitramfsParts): Promise<Uint8Array> {
  // Small, because it lies in crash memory.
  return buildInitramfs(await baseEntries(parts), 6);
}

/**
 * The guest's initramfs: busybox, its `/init`, kexec with its libraries, and what kexec loads.
 *
 * @throws the file system's error where a part cannot be read.
 */
export async function guestInitramfs(parts: GuestInitramfsParts): Promise<Uint8Array> {
  const { kexec } = parts;
  const programs = [
    { guestPath: KEXEC_GUEST_PATH, hostPath: kexec.binary },
    ...(kexec.loader === undefined ? [] : [kexec.loader]),
    ...kexec.libraries,
  ];
  const entries: CpioEntry[] = [...(await baseEntries(parts))];
  for (const { guestPath, hostPath } of programs)
    entries.push(file(guestPath, 0o755, await readFile(hostPath)));
  entries.push(file(GUEST_VMLINUZ, 0o644, await readFile(parts.vmlinuz)));
  entries.push(file(GUEST_CAPTURE_INITRAMFS, 0o644, parts.captureInitramfs));
  // Stored: the kernel in it hardly compresses (20.0 to 15.7 MB), and that would take 0.4 s of every run.
  return buildInitramfs(entries, 0);
}

async function baseEntries(parts: CaptureInitramfsParts): Promise<readonly CpioEntry[]> {
  return [
    ...DIRECTORIES.map((name) => ({ kind: "directory", name, mode: 0o755 }) as const),
    // The kernel opens /dev/console before anything is mounted; without it /init talks to nobody.
    { kind: "character-device", name: "dev/console", mode: 0o600, major: 5, minor: 1 },
    { kind: "character-device", name: "dev/null", mode: 0o666, major: 1, minor: 3 },
    file("/bin/busybox", 0o755, await readFile(parts.busybox)),
    file("/init", 0o755, new TextEncoder().encode(parts.initScript)),
    ...(parts.extraFiles ?? []),
  ];
}

function file(guestPath: string, mode: number, data: Uint8Array): CpioEntry {
  return { kind: "file", name: guestPath.replace(/^\/+/, ""), mode, data };
}

/** Offset of the "operating system" byte in a gzip header, and its value for Unix (RFC 1952, 2.3). */
const GZIP_OS_OFFSET = 9;
const GZIP_OS_UNIX = 3;

/**
 * An initramfs: the entries, with the directories that they need, as a gzipped cpio archive.
 *
 * The same entries give the same bytes with the same Node: its gzip header has no time in it, and the byte that
 * differs between systems is set here. Another zlib may compress otherwise; what it unpacks to is the same.
 *
 * @param level of the compression: 0 stores, 9 is smallest.
 * @throws {CpioError} from `encodeCpio`.
 */
export function buildInitramfs(entries: readonly CpioEntry[], level = 6): Uint8Array {
  const archive = encodeCpio([...missingDirectories(entries), ...entries]);
  const gzipped = new Uint8Array(gzipSync(archive, { level }));
  gzipped[GZIP_OS_OFFSET] = GZIP_OS_UNIX;
  return gzipped;
}
