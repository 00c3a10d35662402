/** Resumes a domain whose keeper was killed while it stood still: in the watcher's process, by a virsh of its own. */
import { setTimeout as delay } from "node:timers/promises";

import type { Resumable } from "../qemu/pause-witness.ts";
import { virshEnvironment } from "./environment.ts";
import { isGone, VirshRefusal } from "./error.ts";
import { runVirsh } from "./run.ts";

const RETRY_MS = 20;

/**
 * Lets a domain run that is paused. Waits first until the keeper's virsh has ended, which may have been told to stop it.
 *
 * @param end when to give up, by `performance.now()`.
 * @returns whether it was paused, and runs now; also false where it has ended.
 * @throws what `runVirsh` throws where libvirt cannot be asked.
 */
export async function resumeDomain(
  { domain, virsh }: Extract<Resumable, { domain: string }>,
  end: number,
  env: NodeJS.ProcessEnv = process.env,
): Promise<boolean> {
  while (isThere(virsh)) {
    if (performance.now() > end) throw new Error(`virsh, process ${virsh}, has not ended`);
    await delay(RETRY_MS);
  }
  const ask = async (...args: readonly string[]): Promise<string> =>
    await runVirsh(args, {
      env: virshEnvironment(env),
      timeoutMs: Math.max(1, Math.ceil(end - performance.now())),
    });
  try {
    if ((await ask("domstate", domain)).trim() !== "paused") return false;
    await ask("resume", domain);
    return true;
  } catch (error) {
    if (error instanceof VirshRefusal && isGone(error.message)) return false;
    throw error;
  }
}

function isThere(pid: number): boolean {
  if (pid === 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
