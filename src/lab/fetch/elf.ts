/** Whether a program is static: just enough ELF for that. */
import { open } from "node:fs/promises";
import { FetchError } from "./errors.ts";

const PT_INTERP = 3;
const EM_X86_64 = 62;
/** Program headers are looked for in this much of a file; linkers put them right behind the file header. */
const HEAD_BYTES = 64 * 1024;

/**
 * The loader that an x86-64 program asks for (PT_INTERP), or undefined where it is static.
 *
 * @throws {FetchError} where the file is not an x86-64 ELF program.
 */
export async function readInterpreter(path: string): Promise<string | undefined> {
  const head = await readHead(path);
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const isElf = head.length >= 64 && view.getUint32(0) === 0x7f454c46 && head[4] === 2 && head[5] === 1;
  if (!isElf || view.getUint16(18, true) !== EM_X86_64)
    throw new FetchError(`${path} is not an x86-64 ELF program`);
  const start = Number(view.getBigUint64(32, true));
  const [size, count] = [view.getUint16(54, true), view.getUint16(56, true)];
  if (size < 56 || start + size * count > head.length)
    throw new FetchError(`${path} has program headers out of reach`);
  for (let index = 0; index < count; index += 1) {
    const at = start + index * size;
    if (view.getUint32(at, true) !== PT_INTERP) continue;
    const offset = Number(view.getBigUint64(at + 8, true));
    const length = Number(view.getBigUint64(at + 32, true));
    if (offset + length > head.length)
      throw new FetchError(`${path} has its interpreter's name out of reach`);
    return Buffer.from(head.subarray(offset, offset + length))
      .toString("utf8")
      .replace(/\0.*$/s, "");
  }
  return undefined;
}

async function readHead(path: string): Promise<Uint8Array> {
  const file = await open(path, "r").catch((cause: unknown) => {
    throw new FetchError(cause instanceof Error ? cause.message : String(cause), { cause });
  });
  try {
    const { buffer, bytesRead } = await file.read(new Uint8Array(HEAD_BYTES), 0, HEAD_BYTES, 0);
    return buffer.subarray(0, bytesRead);
  } catch (cause) {
    throw new FetchError(`${path}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  } finally {
    await file.close();
  }
}
