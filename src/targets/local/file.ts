/** Opens files of /proc, /sys and copied trees so that nothing in them can make us wait. */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { codeOf } from "../qemu/unix-socket.ts";
import { isNotThere } from "./below-root.ts";
import { LocalError } from "./error.ts";

/** Why a file was not opened: there is none, or the kernel said no (EACCES, EPERM). */
export type NotOpened = "absent" | "EACCES" | "EPERM";

/**
 * Opens the regular file at `path` for reading.
 *
 * @param shown - what to call it.
 * @throws {LocalError} `absent` where it is something else: a container has a device in place of what it hides.
 */
export async function openToRead(path: string, shown: string): Promise<FileHandle | NotOpened> {
  let file: FileHandle;
  try {
    // Opening a pipe would wait for somebody who writes.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const code = codeOf(error);
    if (code === "EACCES" || code === "EPERM") return code;
    if (isNotThere(error) || code === "ENXIO" || code === "ENODEV") return "absent";
    throw error;
  }
  try {
    if ((await file.stat()).isFile()) return file;
  } catch (error) {
    await file.close();
    throw error;
  }
  await file.close();
  throw new LocalError(
    "absent",
    `${shown} is no regular file, so it is hidden here, as a container does it: run this on the host itself`,
  );
}
