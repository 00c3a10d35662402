/**
 * What a kernel file says of itself in its setup header (Documentation/arch/x86/boot.rst), as far as kexec_file_load looks
 * at it (arch/x86/kernel/kexec-bzimage64.c) when it has let go of the loaded image already.
 */
import { u32 } from "../../image/bytes.ts";
import { KexecRefusedError } from "./kexec-error.ts";

/** A kernel that can be loaded. */
export interface BzImage {
  /** Bytes that it needs to unpack itself; it gets whole pages of them. */
  readonly initSize: number;
  /** Longest command line that it takes, bytes with the NUL. */
  readonly commandLineSize: number;
}

/** How much of the file has to be read. */
export const SETUP_HEADER_BYTES = 1024;
const BOOT_FLAG = 0x1fe;
const MAGIC = 0x202;
const VERSION = 0x206;
const LOADFLAGS = 0x211;
const XLOADFLAGS = 0x236;
const CMDLINE_SIZE = 0x238;
const INIT_SIZE = 0x260;
/** "HdrS" and 0xaa55, little endian. */
const HDRS = 0x53726448;
const BOOTABLE = 0xaa55;
const FIRST_VERSION = 0x020c;
const LOADED_HIGH = 1;
const XLF_KERNEL_64 = 1;
const XLF_CAN_BE_LOADED_ABOVE_4G = 2;

/**
 * Reads the beginning of a kernel file.
 *
 * @param path for messages.
 * @throws {KexecRefusedError} where the kernel would answer ENOEXEC.
 */
export function parseBzImage(bytes: Uint8Array, path: string): BzImage {
  const refuse = (found: string): KexecRefusedError =>
    new KexecRefusedError(
      `Cannot load ${path}: ${found}, expected a bzImage of x86-64 (boot protocol 2.12 or newer, loadable above 4 GiB); nothing was called`,
    );
  if (bytes.length < SETUP_HEADER_BYTES) throw refuse(`it has ${bytes.length} bytes`);
  const u16 = (offset: number): number => u32(bytes, offset) & 0xffff;
  if (u16(BOOT_FLAG) !== BOOTABLE || u32(bytes, MAGIC) !== HDRS) throw refuse("it has no setup header");
  const version = u16(VERSION);
  if (version < FIRST_VERSION)
    throw refuse(`its boot protocol is ${version >> 8}.${String(version & 0xff).padStart(2, "0")}`);
  if ((bytes[LOADFLAGS]! & LOADED_HIGH) === 0) throw refuse("it is a zImage");
  const needed = XLF_KERNEL_64 | XLF_CAN_BE_LOADED_ABOVE_4G;
  if ((u16(XLOADFLAGS) & needed) !== needed)
    throw refuse(`its xloadflags are 0x${u16(XLOADFLAGS).toString(16)}`);
  return { initSize: u32(bytes, INIT_SIZE), commandLineSize: u32(bytes, CMDLINE_SIZE) };
}
