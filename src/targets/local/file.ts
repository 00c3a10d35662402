/**
 * Opens files of /proc, /sys and copied trees so that nothing in them can make us wait.
 *
 * Without promises: the kernel makes these files in memory, and a look at a large machine reads thousands of them (one for
 * each memory block), of which each would otherwise go through the thread pool four times.
 */
import { closeSync, constants, fstatSync, openSync } from "node:fs";
import { codeOf } from "../qemu/unix-socket.ts";
import { isNotThere } from "./below-root.ts";
import { LocalError } from "./error.ts";

/** Why a file was not opened: there is none, or the kernel said no (EACCES, EPERM). */
export type NotOpened = "absent" | "EACCES" | "EPERM";

/**
 * Opens the regular file at `path` for reading.
 *
 * @param shown - what to call it.
 * @returns its descriptor, which is to be closed.
 * @throws {LocalError} `absent` where it is something else: a container has a device in place of what it hides.
 */
export function openToRead(path: string, shown: string): number | NotOpened {
  let file: number;
  try {
    // Opening a pipe would wait for somebody who writes.
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const code = codeOf(error);
    if (code === "EACCES" || code === "EPERM") return code;
    if (isNotThere(error) || code === "ENXIO" || code === "ENODEV") return "absent";
    throw error;
  }
  let isFile = false;
  try {
    isFile = fstatSync(file).isFile();
  } finally {
    if (!isFile) closeSync(file);
  }
  if (isFile) return file;
  throw new LocalError(
    "absent",
    `${shown} is no regular file, so it is hidden here, as a container does it: run this on the host itself`,
  );
}
