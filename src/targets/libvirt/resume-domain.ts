/** Resumes a domain whose keeper was killed while it stood still: in the watcher's process, by a virsh of its own. */
import { setTimeout as delay } from "node:timers/promises";

import type { Resumable } from "../qemu/pause-witness.ts";
import { virshEnvironment } from "./environment.ts";
import { isGone, VirshRefusal } from "./error.ts";
import { runVirsh } from "./run.ts";

/** Each try is a virsh of its own. */
const RETRY_MS = 100;
/** A libvirt that has just been started answers when it has found its domains again. */
const ANSWER_MS = 10_000;

/**
 * Lets a domain run that is paused, as soon as it is. Until the keeper's virsh has ended (which takes it a second after
 * its input has) it may still be about to stop it.
 *
 * QEMU is asked, not `domstate`: a libvirt that was killed and started again first says what it had put down before, and
 * of a domain that was stopped meanwhile that it runs (seen with 9.0).
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
      timeoutMs: Math.max(1, Math.min(ANSWER_MS, Math.ceil(end - performance.now()))),
    });
  const isPaused = async (): Promise<boolean> => {
    const reply = await ask("qemu-monitor-command", domain, '{"execute":"query-status"}');
    return /"status": *"paused"/.test(reply);
  };
  let wasPaused = false;
  try {
    for (;;) {
      const isLast = wasPaused || !isThere(virsh);
      if (await isPaused()) {
        await ask("resume", domain);
        wasPaused = true;
      } else if (isLast) return wasPaused;
      if (performance.now() > end)
        throw new Error(
          wasPaused ? "libvirt resumes it, and it stays paused" : `virsh, process ${virsh}, has not ended`,
        );
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
