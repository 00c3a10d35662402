/** Directories that only we and QEMU may enter, for sockets and memory copies that QEMU creates. */
import { chmod, chown, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { ownMark } from "../process-mark.ts";

/** Whom QEMU runs as. */
export interface ProcessOwner {
  readonly uid: number;
  readonly gid: number;
}

/** Begins the name of every private directory; the mark of the process that made it follows. */
export const PRIVATE_DIR_PREFIX = "kdump-hotplug-memory-";

/**
 * Creates a directory of mode 0700 under `parent` (the system's temporary directory unless told).
 *
 * Root gives it to `owner`, since a QEMU that has dropped its privileges could not create files in it; root
 * itself can still enter.
 *
 * @returns the path and a function that removes it with everything in it and never throws.
 */
export async function makePrivateDir(
  parent: string = tmpdir(),
  owner?: ProcessOwner,
): Promise<{ readonly path: string; readonly remove: () => Promise<void> }> {
  const path = await mkdtemp(join(parent, `${PRIVATE_DIR_PREFIX}${ownMark()}-`));
  await chmod(path, 0o700);
  if (owner !== undefined && owner.uid !== 0 && process.getuid?.() === 0) {
    await chown(path, owner.uid, owner.gid);
  }
  return {
    path,
    remove: async () => {
      await rm(path, { recursive: true, force: true }).catch(() => undefined);
    },
  };
}
