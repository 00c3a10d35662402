/** Reads a guest's RAM file, so that it can be had when QEMU has ended. */
import { open } from "node:fs/promises";

/** `length` bytes from `position` on; zeros beyond the file's end. */
export async function readFileAt(path: string, position: number, length: number): Promise<Buffer> {
  const file = await open(path, "r");
  try {
    const bytes = Buffer.alloc(length);
    await file.read(bytes, 0, length, position);
    return bytes;
  } finally {
    await file.close();
  }
}
