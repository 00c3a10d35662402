/** Which domains run. */
import { QmpTimeoutError } from "../qemu/qmp-errors.ts";
import { virshEnvironment } from "./environment.ts";
import { libvirtError, LibvirtError, meaningOf, VirshEndedError, VirshRefusal } from "./error.ts";
import { runVirsh } from "./run.ts";

/** Connecting takes some tens of milliseconds, also with hundreds of domains. */
const LIST_TIMEOUT_MS = 10_000;

/** How domains are listed. */
export interface ListOptions {
  /** Milliseconds; 10 s unless told. */
  readonly timeoutMs?: number;
  /** Ours unless told. */
  readonly env?: NodeJS.ProcessEnv;
}

/**
 * The names of the domains that run now, for `libvirt:*`: to be asked again and again, for libvirt tells of a domain that
 * starts only who is connected.
 *
 * @param signal ends the wait.
 * @throws {LibvirtError} with its `kind`, where libvirt cannot be asked.
 */
export async function listRunningDomains(
  signal?: AbortSignal,
  { timeoutMs = LIST_TIMEOUT_MS, env = process.env }: ListOptions = {},
): Promise<readonly string[]> {
  let text: string;
  try {
    text = await runVirsh(["list", "--name", "--state-running", "--state-paused"], {
      env: virshEnvironment(env),
      timeoutMs,
      signal,
    });
  } catch (error) {
    throw whyNot(error, undefined);
  }
  return text.split("\n").filter((name) => name !== "");
}

/** What `error` of virsh's means for somebody who wants `domain`, or none in particular. */
export function whyNot(error: unknown, domain: string | undefined): unknown {
  if (error instanceof LibvirtError) return error;
  if (error instanceof QmpTimeoutError) return libvirtError("silent", domain, error.message);
  if (!(error instanceof VirshRefusal || error instanceof VirshEndedError)) return error;
  if (error instanceof VirshEndedError && error.missing) return libvirtError("no-virsh", domain, "");
  return libvirtError(meaningOf(error.message) ?? "away", domain, error.message);
}
