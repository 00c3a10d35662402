/** Reads guest memory through QMP, without stopping the guest: large spans by a file, small ones as text. */
import { open, rm } from "node:fs/promises";
import { join } from "node:path";

import { makePrivateDir, type ProcessOwner } from "./private-dir.ts";
import { QmpCommandError, QmpError } from "./qmp-errors.ts";
import type { QmpSession } from "./qmp-session.ts";
import { humanMonitor } from "./replies.ts";

/** QEMU copies while it holds its big lock: a chunk bounds how long everything else in it waits. */
const CHUNK = 64 * 1024 * 1024;
/** What any command may take, and what a slow disk needs: a QEMU that hangs is told of soon where little was asked for. */
const SAVE_TIMEOUT_MS = 10_000;
const SLOWEST_BYTES_PER_MS = 4 * 1024;

/** QEMU could not write a copy of guest memory, or wrote another one than was asked for. */
export class PmemsaveError extends QmpError {
  override readonly name = "PmemsaveError";
}

/** Options of `pmemsave`. */
export interface PmemsaveOptions {
  /** Where the private directory is made; the system's temporary directory unless told. */
  readonly tmpDir?: string | undefined;
  /** Whom QEMU runs as. */
  readonly owner?: ProcessOwner | undefined;
}

/**
 * Reads `into.length` bytes at physical `address` into `into` through QMP `pmemsave`.
 *
 * Each chunk goes through a file in a private directory and is deleted at once.
 *
 * @throws {PmemsaveError} where QEMU cannot write there.
 */
export async function pmemsave(
  qmp: QmpSession,
  address: bigint,
  into: Uint8Array,
  options: PmemsaveOptions = {},
): Promise<void> {
  const directory = await makePrivateDir(options.tmpDir, options.owner);
  try {
    for (let at = 0; at < into.length; at += CHUNK) {
      const part = into.subarray(at, at + CHUNK);
      const filename = join(directory.path, `memory-${at}`);
      await saveTo(qmp, filename, address + BigInt(at), part.length);
      await readWhole(filename, part);
      await rm(filename, { force: true });
    }
  } finally {
    await directory.remove();
  }
}

async function saveTo(qmp: QmpSession, filename: string, address: bigint, size: number): Promise<void> {
  try {
    const timeoutMs = SAVE_TIMEOUT_MS + Math.ceil(size / SLOWEST_BYTES_PER_MS);
    await qmp.execute("pmemsave", { val: address, size, filename }, { timeoutMs });
  } catch (error) {
    if (!(error instanceof QmpCommandError)) throw error;
    throw new PmemsaveError(
      `QEMU cannot write a copy of guest memory to "${filename}" (${error.desc}): ` +
        `let it write to that directory, name another one, or give the guest's RAM a shared file`,
      { cause: error },
    );
  }
}

async function readWhole(filename: string, into: Uint8Array): Promise<void> {
  const handle = await open(filename, "r").catch((error: unknown) => {
    throw new PmemsaveError(
      `QEMU says that it wrote "${filename}" but it cannot be read: QEMU runs in another file system or as another user; run as root or name a directory that both see`,
      { cause: error },
    );
  });
  try {
    const { size } = await handle.stat();
    if (size !== into.length) {
      throw new PmemsaveError(`QEMU wrote ${size} bytes of guest memory where ${into.length} were asked for`);
    }
    let at = 0;
    while (at < into.length) {
      const { bytesRead } = await handle.read(into, at, into.length - at, at);
      if (bytesRead === 0)
        throw new PmemsaveError(`Copy of guest memory ended at byte ${at} of ${into.length}`);
      at += bytesRead;
    }
  } finally {
    await handle.close();
  }
}

/** Most bytes that `examine` reads: beyond, text costs more than a file (4 KiB: 1 ms). */
export const EXAMINE_LIMIT = 4096;

/**
 * Reads at most `EXAMINE_LIMIT` bytes at physical `address` through HMP `xp`, which needs no file.
 *
 * Lines are `0000000000001000: 0x11 0x22 …` (QEMU 10) or `00001000: …` (QEMU 11.1); a span that is not memory is `Cannot access memory`.
 *
 * @throws {PmemsaveError} where QEMU does not print exactly those bytes.
 */
export async function examine(qmp: QmpSession, address: bigint, length: number): Promise<Uint8Array> {
  const bytes = Buffer.alloc(length);
  // Words of 64 bits print four times as fast as bytes; they are shown as numbers, so low byte last.
  const width = length % 8 === 0 ? 8 : 1;
  const text = await humanMonitor(
    qmp,
    `xp /${length / width}x${width === 8 ? "g" : "b"} 0x${address.toString(16)}`,
  );
  let at = 0;
  for (const line of text.split(/\r?\n/)) {
    if (line === "") continue;
    const [, start, values] = /^([0-9a-f]{1,16}):((?: 0x(?:[0-9a-f]{2}){1,8})+)$/.exec(line) ?? [];
    if (start === undefined || values === undefined || BigInt(`0x${start}`) !== address + BigInt(at)) {
      throw new PmemsaveError(`QEMU's xp at 0x${address.toString(16)} printed "${line.slice(0, 80)}"`);
    }
    for (const value of values.slice(1).split(" ")) {
      if (value.length !== 2 + 2 * width || at + width > length) {
        throw new PmemsaveError(`QEMU's xp printed "${value}" at byte ${at} of ${length}`);
      }
      bytes.set(Buffer.from(value.slice(2), "hex").toReversed(), at);
      at += width;
    }
  }
  if (at !== length) throw new PmemsaveError(`QEMU's xp printed ${at} bytes where ${length} were asked for`);
  return bytes;
}
