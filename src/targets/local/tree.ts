/** /proc and /sys of this machine, or a copy of another one's below a root directory. */
import { closeSync, lstatSync, readSync } from "node:fs";
import { readdir } from "node:fs/promises";
import type { ReadTree } from "../../layout/sysfs.ts";
import { codeOf } from "../qemu/unix-socket.ts";
import { PAGE_SIZE } from "../../image/bytes.ts";
import { isNotThere, resolveBelow } from "./below-root.ts";
import { LocalError } from "./error.ts";
import { openToRead } from "./file.ts";

/** A file's text, or why there is none. */
export type Found =
  | { readonly state: "text"; readonly text: string }
  | { readonly state: "absent" }
  | { readonly state: "denied" };

/** More than any text that is read: /proc/iomem has some hundred bytes for each DIMM, a file of sysfs one page. */
const MAX_TEXT = 16 * 1024 * 1024;
const CHUNK = 64 * 1024;
/** Of all reads: none of them is interrupted. */
const CHUNK_BUFFER = Buffer.alloc(CHUNK);

/** Files below `root`, by their paths on the machine that they are of. */
export class RootTree implements ReadTree {
  readonly root: string;
  /** Whether the files are a running kernel's own, which change while they are looked at. */
  readonly isLive: boolean;

  constructor(root = "/", isLive: boolean = root === "/") {
    this.root = root;
    this.isLive = isLive;
  }

  /** `path` for people: as it is, or below the root. */
  shown(path: string): string {
    return this.root === "/" ? path : `${this.root.replace(/\/+$/, "")}${path}`;
  }

  /** Where `path` is on this machine. @throws {LocalError} where links lead round in a circle. */
  async locate(path: string): Promise<string> {
    return await resolveBelow(
      path,
      this.root,
      (reason) => new LocalError("malformed", `${this.shown(path)} ${reason}`),
    );
  }

  /** @throws {LocalError} where it is larger than any such file, or no regular file. */
  async read(path: string): Promise<Found> {
    const shown = this.shown(path);
    const file = openToRead(await this.locate(path), shown);
    if (file === "absent") return { state: "absent" };
    if (typeof file === "string") return { state: "denied" };
    try {
      const parts: Buffer[] = [];
      for (let length = 0; ;) {
        const bytesRead = readSync(file, CHUNK_BUFFER, 0, CHUNK, null);
        if (bytesRead === 0) break;
        // An attribute of sysfs is at most a page, and is given whole (sysfs_kf_seq_show(), fs/sysfs/file.c). Files of
        // /proc may be given in parts.
        const isWhole = path.startsWith("/sys/") && bytesRead < PAGE_SIZE;
        parts.push(Buffer.from(CHUNK_BUFFER.subarray(0, bytesRead)));
        length += bytesRead;
        if (length > MAX_TEXT)
          throw new LocalError(
            "malformed",
            `${shown} has more than ${MAX_TEXT} bytes, more than any such file`,
          );
        if (isWhole) break;
      }
      return { state: "text", text: Buffer.concat(parts).toString("latin1") };
    } catch (error) {
      const code = codeOf(error);
      // What sysfs says of a device that went away after its file was opened, and kexec_crash_size while the kexec lock
      // is held (crash_get_memory_size, kernel/crash_core.c).
      if (code === "ENODEV" || code === "ENXIO" || code === "ENOENT" || code === "EBUSY")
        return { state: "absent" };
      if (code === "EPERM" || code === "EACCES") return { state: "denied" };
      if (code === "") throw error;
      throw new LocalError("malformed", `${shown} cannot be read: ${code}`, { cause: error });
    } finally {
      closeSync(file);
    }
  }

  async readText(path: string): Promise<string | undefined> {
    const found = await this.read(path);
    return found.state === "text" ? found.text : undefined;
  }

  /** Whether there is such a file; to list its directory would cost more: /proc has thousands of others. */
  async has(path: string): Promise<boolean> {
    return lstatSync(await this.locate(path), { throwIfNoEntry: false }) !== undefined;
  }

  async list(path: string): Promise<readonly string[]> {
    try {
      return await readdir(await this.locate(path));
    } catch (error) {
      if (isNotThere(error)) return [];
      throw error;
    }
  }
}
