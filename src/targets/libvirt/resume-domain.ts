/** Resumes a domain whose keeper was killed while it stood still: in the watcher's process, by a virsh of its own. */
import { setTimeout as delay } from "node:timers/promises";

import type { Resumable } from "../qemu/pause-witness.ts";
import { virshEnvironment } from "./environment.ts";
import { isGone, VirshRefusal } from "./error.ts";
import { runVirsh } from "./run.ts";

/** Each try is a virsh of its own. */
const RETRY_MS = 100;

/**
 * Lets a domain run that is paused, as soon as it is. Until the keeper's virsh has ended (which takes it a second after
 * its input has) it may still be about to stop it.
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
  const ask = async (...args: readonly string[]): Promise<string> =>
    await runVirsh(args, {
      env: virshEnvironment(env),
      timeoutMs: Math.max(1, Math.ceil(end - performance.now())),
    });
  try {
    for (;;) {
      const isLast = !isThere(virsh);
      if ((await ask("domstate", domain)).trim() === "paused") {
        await ask("resume", domain);
        return true;
      }
      if (isLast) return false;
      if (performance.now() > end) throw new Error(`virsh, process ${virsh}, has not ended`);
      await delay(RETRY_MS);
    }
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
