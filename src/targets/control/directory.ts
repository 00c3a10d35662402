/** Where keepers listen for commands: a directory that only their own user may enter. */
import { chmod, lstat, mkdir, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { hasEnded, MARK_PATTERN, ownMark } from "../process-mark.ts";

/** No control socket is possible, and why. Exit code 3. */
export class ControlError extends Error {
  override readonly name: string = "ControlError";
}

const SOCKET_NAME = new RegExp(`^keeper-(${MARK_PATTERN})\\.sock$`);

/**
 * The directory of this user's keepers: root's is /run/kdump-hotplug, another user's is below XDG_RUNTIME_DIR, and where
 * there is none below the temporary directory. Commands find it without being told.
 *
 * Node cannot ask a socket who its peer is (SO_PEERCRED): that nobody else can enter the directory is what keeps others
 * out.
 */
export function controlDirectory(env: NodeJS.ProcessEnv, uid: number): string {
  const given = env["KDUMP_HOTPLUG_RUNTIME_DIR"];
  if (given !== undefined && given !== "") return given;
  if (uid === 0) return "/run/kdump-hotplug";
  const runtime = env["XDG_RUNTIME_DIR"];
  return runtime !== undefined && runtime.startsWith("/")
    ? join(runtime, "kdump-hotplug")
    : join(tmpdir(), `kdump-hotplug-${uid}`);
}

/** This process's control socket directory and user. */
export function ownControlDirectory(): { readonly directory: string; readonly uid: number } {
  const uid = process.getuid?.() ?? 0;
  return { directory: controlDirectory(process.env, uid), uid };
}

/**
 * Makes the directory, and clears away what keepers that have ended left in it.
 *
 * @returns the path for this process's socket.
 * @throws {ControlError} where it is not ours alone and cannot be made so.
 */
export async function prepareControlSocket(directory: string, uid: number): Promise<string> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    // One that was there already, such as that of a systemd unit, may be open to others.
    const entry = await lstat(directory);
    if (entry.isDirectory() && entry.uid === uid && (entry.mode & 0o077) !== 0) await chmod(directory, 0o700);
  } catch (error) {
    throw new ControlError(
      `No control socket: ${directory} cannot be made (${error instanceof Error ? error.message : String(error)})`,
      { cause: error },
    );
  }
  await checkPrivate(directory, uid);
  for (const name of await readdir(directory)) {
    const mark = SOCKET_NAME.exec(name)?.[1];
    if (mark !== undefined && (hasEnded(mark) || mark === ownMark()))
      await rm(join(directory, name), { force: true });
  }
  return join(directory, `keeper-${ownMark()}.sock`);
}

/** The sockets of this user's keepers; those of keepers that were killed may be among them. */
export async function controlSockets(directory: string, uid: number): Promise<readonly string[]> {
  const names = await readdir(directory).catch(() => []);
  const sockets = names.filter((name) => SOCKET_NAME.test(name));
  if (sockets.length > 0) await checkPrivate(directory, uid);
  return sockets.map((name) => join(directory, name));
}

/** @throws {ControlError} where somebody else could have put something there. */
async function checkPrivate(directory: string, uid: number): Promise<void> {
  const entry = await lstat(directory);
  const problem = !entry.isDirectory()
    ? "it is no directory"
    : entry.uid !== uid
      ? `it belongs to user ${entry.uid}, not ${uid}`
      : (entry.mode & 0o077) !== 0
        ? `its mode is ${(entry.mode & 0o777).toString(8)}, and others may enter`
        : undefined;
  if (problem !== undefined)
    throw new ControlError(`The control sockets in ${directory} are not used: ${problem}; expected mode 700`);
}
